//! The partitions' rules, on the memory index.
