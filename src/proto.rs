//! Generated code: the schemaless plugin service of `proto/rpcplugin/v1/plugin.proto`, and what every plugin of
//! [go-plugin](https://github.com/hashicorp/go-plugin) serves.
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
        include!("../proto/generated/rpcplugin.v1.rs");
    }
}

/// The package `plugin` of [go-plugin](https://github.com/hashicorp/go-plugin/tree/main/internal/plugin): the services
/// `GRPCBroker`, `GRPCController` and `GRPCStdio`, and their messages.
#[expect(
    missing_docs,
    clippy::pedantic,
    clippy::exhaustive_enums,
    clippy::exhaustive_structs,
    clippy::clone_on_ref_ptr,
    clippy::missing_errors_doc,
    unused_qualifications,
    clippy::allow_attributes,
    clippy::allow_attributes_without_reason,
    reason = "generated"
)]
pub mod plugin {
    include!("../proto/generated/plugin.rs");
}

/// `grpc.health.v1`, with the `List` that `tonic-health` does not have yet. The two crates for what it and reflection are
/// would be crates more for whoever depends on this one.
#[expect(
    unreachable_pub,
    unnameable_types,
    clippy::pedantic,
    clippy::clone_on_ref_ptr,
    unused_qualifications,
    clippy::allow_attributes,
    clippy::allow_attributes_without_reason,
    reason = "generated"
)]
pub(crate) mod health {
    include!("../proto/generated/grpc.health.v1.rs");
}

/// The packages of [server reflection](https://github.com/grpc/grpc/blob/master/doc/server-reflection.md).
#[expect(
    unreachable_pub,
    clippy::pedantic,
    clippy::clone_on_ref_ptr,
    clippy::enum_variant_names,
    unused_qualifications,
    clippy::allow_attributes,
    clippy::allow_attributes_without_reason,
    reason = "generated"
)]
pub(crate) mod reflection {
    pub(crate) mod v1 {
        include!("../proto/generated/grpc.reflection.v1.rs");
    }

    /// What servers had before.
    pub(crate) mod v1alpha {
        include!("../proto/generated/grpc.reflection.v1alpha.rs");
    }
}

/// The encoded `FileDescriptorSet` of the package `plugin`, with its imports.
pub(crate) const GO_PLUGIN_DESCRIPTOR_SET: &[u8] =
    include_bytes!("../proto/generated/go_plugin.bin");

/// The encoded `FileDescriptorSet` of `grpc.health.v1`.
pub(crate) const HEALTH_DESCRIPTOR_SET: &[u8] = include_bytes!("../proto/generated/health.bin");

/// The encoded `FileDescriptorSet` of both versions of reflection.
pub(crate) const REFLECTION_DESCRIPTOR_SET: &[u8] =
    include_bytes!("../proto/generated/reflection.bin");

/// The encoded `FileDescriptorSet` of `rpcplugin/v1/plugin.proto`, with its imports.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!("../proto/generated/plugin.bin");
