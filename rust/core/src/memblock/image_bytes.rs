//! A memblock's image as bytes: little-endian 64-bit numbers.

use super::{ArrayGrowth, Geometry, ListImage, ListKind, MemblockImage, Region, Resize};

/// Begins every image and names the layout.
const MAGIC: u64 = u64::from_le_bytes(*b"memblk01");
/// Stands for no node and no array.
const NONE: u64 = u64::MAX;

impl MemblockImage {
    /// The image as bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let geometry = &self.geometry;
        let mut numbers = vec![
            MAGIC,
            geometry.page_shift.into(),
            geometry.init_regions as u64,
            geometry.region_bytes,
            geometry.smp_cache_bytes,
            geometry.low_address_limit,
            geometry.max_order.into(),
            self.current_limit,
            self.bottom_up.into(),
            match self.resize {
                Resize::Refused => 0,
                Resize::InMemory => 1,
                Resize::Elsewhere => 2,
            },
            self.some_mirror.into(),
            self.movable_node.into(),
            self.discarded.into(),
        ];
        for list in [&self.memory, &self.reserved] {
            let array = list.array.unwrap_or(NONE);
            numbers.extend([
                list.capacity as u64,
                list.total_size,
                array,
                list.was_emptied.into(),
                list.regions.len() as u64,
            ]);
            for region in &list.regions {
                numbers.extend([region.base, region.size, region.nid.map_or(NONE, u64::from), region.flags.into()]);
            }
        }
        numbers.push(self.growths.len() as u64);
        for growth in &self.growths {
            let in_reserved = growth.list == ListKind::Reserved;
            numbers.extend([in_reserved.into(), growth.capacity as u64, growth.addr, growth.size_bytes]);
        }
        numbers.into_iter().flat_map(u64::to_le_bytes).collect()
    }

    /// The image in the bytes; `None` if they are anything else.
    pub fn from_bytes(bytes: &[u8]) -> Option<MemblockImage> {
        let mut numbers = Numbers(bytes);
        if numbers.next()? != MAGIC {
            return None;
        }
        let image = MemblockImage {
            geometry: Geometry {
                page_shift: numbers.small()?,
                init_regions: numbers.count()?,
                region_bytes: numbers.next()?,
                smp_cache_bytes: numbers.next()?,
                low_address_limit: numbers.next()?,
                max_order: numbers.small()?,
            },
            current_limit: numbers.next()?,
            bottom_up: numbers.truth()?,
            resize: match numbers.next()? {
                0 => Resize::Refused,
                1 => Resize::InMemory,
                2 => Resize::Elsewhere,
                _ => return None,
            },
            some_mirror: numbers.truth()?,
            movable_node: numbers.truth()?,
            discarded: numbers.truth()?,
            memory: numbers.list()?,
            reserved: numbers.list()?,
            growths: numbers.many(Numbers::growth)?,
        };
        numbers.0.is_empty().then_some(image)
    }
}

struct Numbers<'a>(&'a [u8]);

impl Numbers<'_> {
    fn next(&mut self) -> Option<u64> {
        let (number, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u64::from_le_bytes(*number))
    }

    fn small(&mut self) -> Option<u32> {
        self.next()?.try_into().ok()
    }

    fn count(&mut self) -> Option<usize> {
        self.next()?.try_into().ok()
    }

    fn truth(&mut self) -> Option<bool> {
        match self.next()? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }

    fn optional(&mut self) -> Option<Option<u64>> {
        self.next().map(|number| (number != NONE).then_some(number))
    }

    /// A counted sequence; it ends with the bytes, whatever the count says.
    fn many<T>(&mut self, mut read: impl FnMut(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        let count = self.count()?;
        let mut items = Vec::new();
        for _ in 0..count {
            items.push(read(self)?);
        }
        Some(items)
    }

    fn list(&mut self) -> Option<ListImage> {
        Some(ListImage {
            capacity: self.count()?,
            total_size: self.next()?,
            array: self.optional()?,
            was_emptied: self.truth()?,
            regions: self.many(Self::region)?,
        })
    }

    fn region(&mut self) -> Option<Region> {
        Some(Region {
            base: self.next()?,
            size: self.next()?,
            nid: match self.optional()? {
                Some(nid) => Some(nid.try_into().ok()?),
                None => None,
            },
            flags: self.small()?,
        })
    }

    fn growth(&mut self) -> Option<ArrayGrowth> {
        Some(ArrayGrowth {
            list: if self.truth()? { ListKind::Reserved } else { ListKind::Memory },
            capacity: self.count()?,
            addr: self.next()?,
            size_bytes: self.next()?,
        })
    }
}
