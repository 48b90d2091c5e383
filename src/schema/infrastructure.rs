//! The services that belong to the plumbing and not to the plugin.

use crate::proto;
use crate::schema::pool::Schema;
use prost::Message as _;
use std::sync::LazyLock;

static SCHEMA: LazyLock<Schema> = LazyLock::new(|| {
    let sets = [
        proto::HEALTH_DESCRIPTOR_SET,
        proto::GO_PLUGIN_DESCRIPTOR_SET,
        proto::REFLECTION_DESCRIPTOR_SET,
        proto::FILE_DESCRIPTOR_SET,
    ];
    let mut all = prost_types::FileDescriptorSet::default();
    for set in sets {
        let set = prost_types::FileDescriptorSet::decode(set)
            .expect("a compiled-in descriptor set is valid");
        all.file.extend(set.file);
    }
    Schema::from_descriptor_set(all.encode_to_vec())
        .expect("the compiled-in descriptor sets fit together")
});

/// Health, reflection, what every plugin has and the schemaless service, which need no asking.
pub(crate) fn infrastructure() -> &'static Schema {
    &SCHEMA
}
