//! All methods of a descriptor set, looked up by name or by path.

use crate::error::{Error, Kind};
use crate::panics::caught;
use crate::schema::method::Method;
use crate::schema::name::{MethodName, dotted, is_infrastructure, without_slash};
use prost::Message as _;
use prost_reflect::{DescriptorPool, MessageDescriptor};
use prost_types::{FileDescriptorProto, FileDescriptorSet};
use std::{collections::BTreeMap, sync::Arc};

/// The services, methods and message types of a server.
///
/// Give one to a [`Client`](crate::Client) or a [`MockServer`](crate::MockServer) through its builder; a client without
/// one asks the server's reflection service.
///
/// ```
/// use rpcplugin_testkit::{Schema, Shape, proto};
///
/// let schema = Schema::from_descriptor_set(proto::FILE_DESCRIPTOR_SET)?;
/// let method = schema.method("rpcplugin.v1.Plugin/Call")?;
/// assert_eq!(method.path(), "/rpcplugin.v1.Plugin/Call");
/// assert_eq!(method.shape(), Shape::Unary);
/// # Ok::<(), rpcplugin_testkit::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Schema {
    pool: DescriptorPool,
    methods: Arc<Methods>,
}

#[derive(Debug, Default)]
struct Methods {
    /// By `pkg.Service/Method`.
    by_name: BTreeMap<String, Arc<Method>>,
    /// In the order of the descriptor set, for messages that list them.
    listed: Vec<Arc<Method>>,
}

impl Methods {
    fn new(listed: Vec<Arc<Method>>) -> Self {
        let by_name = listed
            .iter()
            .map(|method| (method.full_name().to_owned(), Arc::clone(method)));
        Self {
            by_name: by_name.collect(),
            listed,
        }
    }
}

/// How many candidates an error lists.
const LISTED: usize = 24;

impl Schema {
    /// The schema of an encoded `google.protobuf.FileDescriptorSet` with its imports: what `protoc
    /// --include_imports --descriptor_set_out` writes, and `tonic_prost_build`'s `file_descriptor_set_path`.
    ///
    /// # Errors
    ///
    /// When the bytes are not such a set, or a file that it imports is missing.
    pub fn from_descriptor_set(bytes: impl AsRef<[u8]>) -> Result<Self, Error> {
        let set = FileDescriptorSet::decode(bytes.as_ref()).map_err(|error| {
            Error::new(
                Kind::Schema,
                "the bytes are not an encoded FileDescriptorSet",
            )
            .caused_by(error)
        })?;
        Self::from_files(set.file)
    }

    /// Compiles `.proto` files, found under the directories of `includes`. No `protoc` is needed.
    ///
    /// # Errors
    ///
    /// When a file is missing or does not compile; the cause names the file, the line and the problem.
    #[cfg(feature = "proto-files")]
    pub fn from_proto_files(
        files: impl IntoIterator<Item = impl AsRef<std::path::Path>>,
        includes: impl IntoIterator<Item = impl AsRef<std::path::Path>>,
    ) -> Result<Self, Error> {
        let set = protox::compile(files, includes).map_err(|error| {
            // Its `Debug` has the line and the column, and mostly the file.
            let (place, file) = (format!("{error:?}"), error.file().unwrap_or_default());
            let cause = if place.contains(file) {
                place
            } else {
                format!("{file}: {place}")
            };
            Error::new(Kind::Schema, "the .proto files do not compile").caused_by(cause)
        })?;
        Self::from_descriptor_set(set.encode_to_vec())
    }

    /// Compiles one `.proto` file whose imports are beside it.
    ///
    /// # Errors
    ///
    /// As [`from_proto_files`](Self::from_proto_files).
    #[cfg(feature = "proto-files")]
    pub fn from_proto_file(path: impl AsRef<std::path::Path>) -> Result<Self, Error> {
        let path = path.as_ref();
        let beside = path.parent().unwrap_or(path);
        Self::from_proto_files([path], [beside])
    }

    /// The schema of these files, in any order, with all their imports.
    pub(super) fn from_files(files: Vec<FileDescriptorProto>) -> Result<Self, Error> {
        let inconsistent = || Error::new(Kind::Schema, "the descriptor set is inconsistent");
        if let Some(file) = files.iter().find(|file| file.syntax() == "editions") {
            let text = format!(
                "`{}` is written in a protobuf edition, and only proto2 and proto3 are known",
                file.name()
            );
            return Err(inconsistent().caused_by(text));
        }
        // prost-reflect 0.16 panics where it cannot say which line of a source a mistake is on.
        let built = caught(|| {
            let mut pool = DescriptorPool::new();
            pool.add_file_descriptor_protos(files).map(|()| pool)
        });
        match built {
            Ok(Ok(pool)) => Ok(Self::from_pool(pool)),
            Ok(Err(error)) => Err(inconsistent().caused_by(error)),
            Err(_) => Err(inconsistent().caused_by("it refers to what it does not have")),
        }
    }

    /// The same schema with the methods of these services only.
    pub(super) fn only(self, services: &[String]) -> Self {
        let listed = self.methods.listed.iter();
        let kept =
            listed.filter(|method| services.iter().any(|service| *service == method.service()));
        Self {
            methods: Arc::new(Methods::new(kept.cloned().collect())),
            pool: self.pool,
        }
    }

    fn from_pool(pool: DescriptorPool) -> Self {
        let methods = pool
            .services()
            .flat_map(|service| service.methods().collect::<Vec<_>>());
        let listed = methods
            .filter_map(|method| Method::new(&method))
            .map(Arc::new);
        Self {
            methods: Arc::new(Methods::new(listed.collect())),
            pool,
        }
    }

    /// The method of that name: `pkg.Service/Method`, `pkg.Service.Method`, `Service.Method` or a bare `Method`, when
    /// it names one method only.
    ///
    /// The services that every server has (health, reflection) and the schemaless plugin service answer to their full
    /// names only, so that a bare `Check` is always your own.
    ///
    /// # Errors
    ///
    /// When no method or more than one has the name; the text lists the candidates.
    pub fn method(&self, name: &str) -> Result<Arc<Method>, Error> {
        if let Some(method) = self.method_of(name) {
            return Ok(Arc::clone(method));
        }
        let wanted = MethodName::new(name);
        let full = |method: &Method| *wanted.as_str() == *dotted(method.full_name());
        let all = || self.methods.listed.iter();
        if let Some(method) = all().find(|method| full(method)) {
            return Ok(Arc::clone(method));
        }
        let mut found = all().filter(|method| {
            wanted.names(method.full_name()) && !is_infrastructure(method.full_name())
        });
        match (found.next(), found.next()) {
            (Some(method), None) => Ok(Arc::clone(method)),
            (Some(one), Some(two)) => Err(ambiguous(name, [one, two].into_iter().chain(found))),
            (None, _) => Err(self.unknown(name)),
        }
    }

    /// The method at a path on the wire, `/pkg.Service/Method`.
    #[must_use]
    pub fn method_at(&self, path: &str) -> Option<&Arc<Method>> {
        self.methods.by_name.get(path.strip_prefix('/')?)
    }

    /// The method of that full name, as it is mostly written.
    fn method_of(&self, full_name: &str) -> Option<&Arc<Method>> {
        let full_name = without_slash(full_name);
        if full_name.contains('/') {
            return self.methods.by_name.get(full_name);
        }
        let (service, method) = full_name.rsplit_once('.')?;
        self.methods.by_name.get(&format!("{service}/{method}"))
    }

    /// Every method, in the order of the descriptor set.
    pub fn methods(&self) -> impl Iterator<Item = &Arc<Method>> {
        self.methods.listed.iter()
    }

    /// The full names of the services.
    pub fn services(&self) -> impl Iterator<Item = String> + '_ {
        self.pool
            .services()
            .map(|service| service.full_name().to_owned())
    }

    /// The message type of that full name.
    #[must_use]
    pub fn message(&self, full_name: &str) -> Option<MessageDescriptor> {
        self.pool.get_message_by_name(full_name)
    }

    /// Whether the service that this name is written with is in the schema, or the name has no service.
    pub(crate) fn has_service_of(&self, name: &MethodName) -> bool {
        let Some((service, _)) = name.as_str().rsplit_once('.') else {
            return true;
        };
        let service = MethodName::new(service);
        self.services().any(|full| service.names(&full))
    }

    pub(crate) fn pool(&self) -> &DescriptorPool {
        &self.pool
    }

    fn unknown(&self, name: &str) -> Error {
        let own = self.methods.listed.iter();
        let names: Vec<_> = own
            .map(|method| method.full_name())
            .filter(|name| !is_infrastructure(name))
            .collect();
        let known = match names.len() {
            0 => "the schema has no methods".to_owned(),
            _ => format!("known are {}", candidates(names)),
        };
        Error::new(
            Kind::UnknownMethod,
            format!("unknown method `{name}`: {known}"),
        )
    }
}

fn ambiguous<'a>(name: &str, found: impl Iterator<Item = &'a Arc<Method>>) -> Error {
    let names = found.map(|method| method.full_name()).collect();
    let text = format!("`{name}` is ambiguous: it could be {}", candidates(names));
    Error::new(Kind::UnknownMethod, text)
}

fn candidates(mut names: Vec<&str>) -> String {
    names.sort_unstable();
    list(&names, LISTED)
}

/// The first of the names, and how many more there are.
pub(crate) fn list(names: &[impl AsRef<str>], most: usize) -> String {
    let first: Vec<_> = names.iter().take(most).map(AsRef::as_ref).collect();
    let listed = first.join(", ");
    match names.len().saturating_sub(most) {
        0 => listed,
        more => format!("{listed} and {more} more"),
    }
}
