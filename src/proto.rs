//! Generated code: the schemaless plugin service of `proto/rpcplugin/v1/plugin.proto`.
//!
//! ```
//! use rpcplugin_testkit::proto::rpcplugin::v1::CallRequest;
//!
//! let request = CallRequest { method: "Echo".to_owned(), args: None };
//! assert_eq!(request.method, "Echo");
//! ```

/// The package `rpcplugin`.
pub mod rpcplugin {
    /// The package `rpcplugin.v1`: messages, `plugin_client::PluginClient` and `plugin_server::PluginServer`.
    #[expect(
        missing_docs,
        clippy::pedantic,
        clippy::exhaustive_structs,
        clippy::clone_on_ref_ptr,
        clippy::missing_errors_doc,
        unused_qualifications,
        clippy::allow_attributes,
        clippy::allow_attributes_without_reason,
        reason = "generated"
    )]
    pub mod v1 {
        tonic::include_proto!("rpcplugin.v1");
    }
}

/// The encoded `FileDescriptorSet` of `rpcplugin/v1/plugin.proto`, with its imports.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/plugin.bin"));
