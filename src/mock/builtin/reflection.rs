//! `grpc.reflection.v1` and `v1alpha`, made when they are first asked.

use crate::mock::builtin::service::BuiltinService;
use crate::proto;
use crate::schema::Schema;
use std::sync::OnceLock;
use tonic_reflection::server::Builder;

/// The reflection services of a schema, or of the schemaless plugin service.
pub(super) struct Reflection {
    schema: Option<Schema>,
    v1: OnceLock<BuiltinService>,
    v1alpha: OnceLock<BuiltinService>,
}

const VALID: &str = "a schema that was accepted can be reflected";

impl Reflection {
    pub(super) fn new(schema: Option<Schema>) -> Self {
        Self {
            schema,
            v1: OnceLock::new(),
            v1alpha: OnceLock::new(),
        }
    }

    pub(super) fn v1(&self) -> &BuiltinService {
        self.v1.get_or_init(|| {
            let set = self.descriptor_set();
            BuiltinService::new(builder(&set).build_v1().expect(VALID))
        })
    }

    pub(super) fn v1alpha(&self) -> &BuiltinService {
        self.v1alpha.get_or_init(|| {
            let set = self.descriptor_set();
            BuiltinService::new(builder(&set).build_v1alpha().expect(VALID))
        })
    }

    fn descriptor_set(&self) -> Vec<u8> {
        self.schema.as_ref().map_or_else(
            || proto::FILE_DESCRIPTOR_SET.to_vec(),
            Schema::to_descriptor_set,
        )
    }
}

fn builder(set: &[u8]) -> Builder<'_> {
    Builder::configure()
        .register_encoded_file_descriptor_set(set)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
}
