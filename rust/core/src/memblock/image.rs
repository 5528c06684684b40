//! A memblock as plain data, to be stored and put together again.

use super::{ArrayGrowth, Geometry, Memblock, MemblockError, Region, Resize, regions::RegionList};

/// One list as plain data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListImage {
    /// The regions.
    pub regions: Vec<Region>,
    /// Regions its array has room for.
    pub capacity: usize,
    /// Its size counter.
    pub total_size: u64,
    /// Place of its array, once grown in memory.
    pub array: Option<u64>,
    /// Whether it has been emptied before (the dump of an empty list shows it).
    pub was_emptied: bool,
}

/// Everything a [`Memblock`] consists of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemblockImage {
    /// The sizes it was made with.
    pub geometry: Geometry,
    /// The memory list.
    pub memory: ListImage,
    /// The reserved list.
    pub reserved: ListImage,
    /// End of accessible memory.
    pub current_limit: u64,
    /// Whether searches go upward.
    pub bottom_up: bool,
    /// What happens when a list is full.
    pub resize: Resize,
    /// Whether mirrored memory is preferred.
    pub some_mirror: bool,
    /// Whether hotpluggable memory is withheld.
    pub movable_node: bool,
    /// Whether it is sealed.
    pub discarded: bool,
    /// Array growths so far.
    pub growths: Vec<ArrayGrowth>,
}

impl Memblock {
    /// Everything as plain data.
    pub fn to_image(&self) -> MemblockImage {
        MemblockImage {
            geometry: self.geometry,
            memory: self.memory.to_image(),
            reserved: self.reserved.to_image(),
            current_limit: self.current_limit,
            bottom_up: self.bottom_up,
            resize: self.resize,
            some_mirror: self.some_mirror,
            movable_node: self.movable_node,
            discarded: self.discarded,
            growths: self.growths.clone(),
        }
    }

    /// The memblock an image was made of. The image may come from anywhere: it is checked.
    pub fn from_image(image: MemblockImage) -> Result<Memblock, MemblockError> {
        let geometry = image.geometry;
        if !geometry.is_valid() {
            return Err(MemblockError::Geometry);
        }
        Ok(Memblock {
            memory: RegionList::from_image(image.memory, &geometry)?,
            reserved: RegionList::from_image(image.reserved, &geometry)?,
            geometry,
            current_limit: image.current_limit,
            bottom_up: image.bottom_up,
            resize: image.resize,
            some_mirror: image.some_mirror,
            movable_node: image.movable_node,
            discarded: image.discarded,
            growths: image.growths,
        })
    }
}
