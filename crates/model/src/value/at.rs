//! Where something stands in the file of its object.

/// A line and column of the file named in [`Meta::position`](crate::Meta::position). Zero: unknown.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct At {
    /// From 1.
    pub line: u32,
    /// From 1, in characters.
    pub column: u32,
}

impl At {
    /// Whether the place is known.
    pub fn is_known(self) -> bool {
        self.line > 0
    }
}

/// A value and where it stands.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Located<T> {
    /// The value.
    pub value: T,
    /// Where it stands.
    pub at: At,
}
