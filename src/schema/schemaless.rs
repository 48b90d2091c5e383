//! The schemaless service: one path for each shape.

use crate::schema::method::Shape;

/// Its full name.
pub(crate) const SERVICE: &str = "rpcplugin.v1.Plugin";

const PATHS: [(Shape, &str); 4] = [
    (Shape::BidiStreaming, "/rpcplugin.v1.Plugin/BidiStream"),
    (Shape::ClientStreaming, "/rpcplugin.v1.Plugin/ClientStream"),
    (Shape::ServerStreaming, "/rpcplugin.v1.Plugin/ServerStream"),
    (Shape::Unary, "/rpcplugin.v1.Plugin/Call"),
];

/// Where a call of that shape goes.
pub(crate) fn path(shape: Shape) -> &'static str {
    let found = PATHS.iter().find(|(of, _)| *of == shape);
    found.expect("every shape has a path").1
}

/// The shape of the calls to this path, `None` for a path of another service.
pub(crate) fn shape(path: &str) -> Option<Shape> {
    PATHS
        .iter()
        .find(|(_, of)| *of == path)
        .map(|(shape, _)| *shape)
}
