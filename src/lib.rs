#![doc = include_str!("../README.md")]

// The ground.
mod address;
mod consul;
mod endpoint;
mod error;
mod handshake;
mod health;
mod net;
mod panics;
pub mod proto;
mod schema;
pub mod tls;
mod vars;
mod wire;

// The two wings.
pub mod client;
pub mod mock;

// Where they meet.
mod fixture;

// A door of both.
pub mod plugin {
    //! Plugins as [go-plugin](https://github.com/hashicorp/go-plugin) and pyvider-rpcplugin have them: programs that a host
    //! launches, and that tell it by a line on stdout where they serve.
    //!
    //! - [`serve`] makes a program one, that does what a test wants of it; [`PluginFault`], what it does wrong.
    //! - [`Handshake`], that line; [`ReattachConfig`], the same for a plugin that runs already.
    //! - [`Client::attach`](crate::Client::attach) connects to either; [`ping`](crate::Client::ping),
    //!   [`mirror_stdio`](crate::Client::mirror_stdio) and [`shutdown_server`](crate::Client::shutdown_server) are what hosts do
    //!   beside calling.

    pub use crate::client::StdioMirror;
    pub use crate::handshake::{Attachment, Handshake, IntoAttachment, ReattachConfig};
    #[cfg(feature = "multiplex")]
    pub use crate::mock::BrokeredStream;
    pub use crate::mock::{Broker, OnShutdown, PluginFault, Serve, serve};
}

pub use address::{Address, IntoAddress};
pub use client::{Client, ClientConfig, ClientTls, ConnectionState, Pool, Strategy, TokenAuth};
pub use consul::Consul;
pub use endpoint::{Endpoint, IntoEndpoint};
pub use error::Error;
pub use health::ServingStatus;
pub use mock::{
    Auth, Call, CallStream, Chaos, Delay, Fault, Gate, Grant, Journal, MockCluster, MockConsul,
    MockServer, Outcome, Reply, Sequence, ServerTls, Stub, matchers,
};
pub use schema::{Method, Schema, Shape};
pub use tls::{Authority, Certificate, Defect, Identity};
pub use wire::Compression;

// Types of others that ours show.
pub use h2::Reason;
pub use prost_reflect;

// What every test needs beside them.
pub use serde_json::{Value, json};
pub use tonic::{Code, Status};
