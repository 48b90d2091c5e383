//! The tests of `rpcplugin-testkit`, in one binary. One file for each thing that is promised.

mod address;
mod config;
mod front_door;
mod grpcio;
mod schema;
mod support;
