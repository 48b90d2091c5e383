#![doc = include_str!("../README.md")]

mod address;
mod error;
pub mod client;
mod net;
pub mod proto;
mod schema;
mod wire;

pub use address::{Address, IntoAddress};
pub use client::{Client, ClientConfig};
pub use error::Error;
pub use schema::{Method, Schema, Shape};
pub use serde_json::{Value, json};
pub use tonic::{Code, Status};
pub use tonic_health::ServingStatus;
