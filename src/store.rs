//! Floor 2: the only data files. The journal is the truth, the index follows it (HOUSE decision 2).

pub mod crashes;
pub mod damage;
pub mod data_dir;
pub mod disk;
pub mod identity;
pub mod index;
pub mod journal;
pub mod logbook;
pub mod marks;
pub mod memory;
pub mod partition;
pub mod roots;
pub mod space;
