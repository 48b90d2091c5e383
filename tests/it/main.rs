//! The tests of `rpcplugin-testkit`, in one binary. One file for each thing that is promised.

mod address;
mod architecture;
mod bad_input;
mod calls;
mod config;
mod connection;
mod deadlines;
mod front_door;
mod grpcio;
mod health;
mod journal;
mod json;
mod judges;
mod lifecycle;
mod load;
mod metadata;
mod raw;
mod readme;
mod reflection;
mod schema;
mod streams;
mod stubs;
mod support;
