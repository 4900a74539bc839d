//! How much a file may hold.

/// Bounds on what is read, so that no file can take the process down (promise 19).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Limits {
    /// Bytes of a file. Default 16 MiB.
    pub file_bytes: usize,
    /// Bytes of a document. Default 1 MiB, about what a Kubernetes API server takes.
    pub document_bytes: usize,
    /// Documents of a file, and items of a List. Default 100,000.
    pub documents: usize,
    /// Objects and lists in each other. Default 64.
    pub nesting: usize,
    /// Values of a document, aliases expanded. Default 250,000.
    pub nodes: usize,
    /// Anchors of a document that aliases can refer to. Default 1,000.
    pub anchors: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            file_bytes: 16 << 20,
            document_bytes: 1 << 20,
            documents: 100_000,
            nesting: 64,
            nodes: 250_000,
            anchors: 1_000,
        }
    }
}
