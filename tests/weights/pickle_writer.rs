//! Pickles and zip archives written by hand, for what PyTorch would never write.

/// `BINUNICODE`.
pub fn text(text: &str) -> Vec<u8> {
    [b"X", &(text.len() as u32).to_le_bytes()[..], text.as_bytes()].concat()
}

/// `LONG1` of eight bytes.
pub fn int(number: i64) -> Vec<u8> {
    [b"\x8a\x08", &number.to_le_bytes()[..]].concat()
}

/// `GLOBAL`.
pub fn global(module: &str, name: &str) -> Vec<u8> {
    format!("c{module}\n{name}\n").into_bytes()
}

pub fn tuple(items: &[Vec<u8>]) -> Vec<u8> {
    [b"(", items.concat().as_slice(), b"t"].concat()
}

pub fn ints(numbers: &[i64]) -> Vec<u8> {
    tuple(&numbers.iter().copied().map(int).collect::<Vec<_>>())
}

/// The persistent id of a storage of so many elements.
pub fn storage(class: &str, key: &str, count: i64) -> Vec<u8> {
    let id = [text("storage"), global("torch", class), text(key), text("cpu"), int(count)];
    [&tuple(&id)[..], b"Q"].concat()
}

/// A tensor over a storage.
pub fn tensor(storage: &[u8], offset: i64, shape: &[i64], strides: &[i64]) -> Vec<u8> {
    let arguments =
        tuple(&[storage.to_vec(), int(offset), ints(shape), ints(strides), vec![0x89], b"}".to_vec()]);
    [&global("torch._utils", "_rebuild_tensor_v2")[..], &arguments, b"R"].concat()
}

/// A whole pickle of a dict with these text keys.
pub fn dict(entries: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let entries: Vec<u8> =
        entries.iter().flat_map(|(key, value)| [text(key), value.clone()].concat()).collect();
    [b"\x80\x02}(", &entries[..], b"u."].concat()
}

/// An archive of stored entries; sizes and places are in zip64 fields if `zip64`.
pub fn archive(entries: &[(&str, &[u8])], zip64: bool) -> Vec<u8> {
    let (mut file, mut directory) = (Vec::new(), Vec::new());
    for (name, data) in entries {
        let (offset, size) = (file.len() as u64, data.len() as u64);
        let [short_offset, short_size] =
            [offset, size].map(|number| if zip64 { u32::MAX } else { number as u32 }.to_le_bytes());
        let [long_offset, long_size] = [offset, size].map(u64::to_le_bytes);
        // Another field first, which is to be skipped.
        let extra = [&[9, 9, 1, 0, 7, 1, 0, 24, 0][..], &long_size, &long_size, &long_offset].concat();
        let extra = if zip64 { extra } else { Vec::new() };
        let name_bytes = (name.len() as u16).to_le_bytes();
        let sizes = [short_size, short_size].concat();
        file.extend(
            [b"PK\x03\x04", &[0; 14][..], &sizes, &name_bytes, &[0; 2], name.as_bytes(), data].concat(),
        );
        let lengths = [name_bytes, (extra.len() as u16).to_le_bytes()].concat();
        directory.extend([b"PK\x01\x02", &[0; 16][..], &sizes, &lengths, &[0; 10], &short_offset].concat());
        directory.extend([name.as_bytes(), &extra].concat());
    }
    let (start, size) = (file.len() as u64, directory.len() as u64);
    file.extend(directory);
    if zip64 {
        let end = (file.len() as u64).to_le_bytes();
        file.extend([b"PK\x06\x06", &[0; 36][..], &size.to_le_bytes(), &start.to_le_bytes()].concat());
        file.extend([b"PK\x06\x07", &[0; 4][..], &end, &[1, 0, 0, 0]].concat());
    }
    let [size, start] =
        [size, start].map(|number| if zip64 { u32::MAX } else { number as u32 }.to_le_bytes());
    file.extend([b"PK\x05\x06", &[0; 8][..], &size, &start, &[0; 2]].concat());
    file
}

/// A checkpoint of this pickle and one storage `0` of 16 bytes.
pub fn checkpoint(pickle: &[u8]) -> Vec<u8> {
    archive(&[("x/data.pkl", pickle), ("x/data/0", &[0; 16])], false)
}
