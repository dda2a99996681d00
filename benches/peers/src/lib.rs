//! The same service as others would write it, to race against.
