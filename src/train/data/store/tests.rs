//! Tests of `store`.

use super::super::example::Example;
use super::*;

fn example(length: usize, first: u32) -> Example {
    Example { ids: (first..).take(length).collect(), trained: (0..length).map(|at| at % 3 == 1).collect() }
}

fn write(folder: &Path, lengths: &[usize]) -> TokenStore {
    let mut writer = StoreWriter::create(folder).unwrap();
    for (at, length) in lengths.iter().enumerate() {
        writer.add(&example(*length, at as u32 * 100), if at % 2 == 0 { "de" } else { "sw" }).unwrap();
    }
    writer.finish("d1".to_owned()).unwrap()
}

#[test]
fn what_is_written_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a/tokens");
    let lengths = [3, 2, 17, 8, 1, 64];
    let check = |store: &TokenStore| {
        assert_eq!(store.lengths(), lengths.map(|length| length as u32));
        assert_eq!(store.header().counts.tokens, lengths.iter().sum::<usize>() as u64);
        for (at, length) in lengths.iter().enumerate() {
            let (expected, found) = (example(*length, at as u32 * 100), store.example(at));
            assert_eq!(found.ids, expected.ids);
            assert!(found.trained().eq(expected.trained.iter().copied()), "{at}");
            assert_eq!(found.tag, if at % 2 == 0 { "de" } else { "sw" });
            assert!(!found.is_trained(*length));
        }
    };
    check(&write(&path, &lengths));
    check(&TokenStore::open(&path).unwrap());
    check(&TokenStore::reuse(&path, "d1").unwrap().unwrap());
    assert!(TokenStore::reuse(&path, "d2").unwrap().is_none());
    assert!(!folder.path().join("a/tokens.partial").exists());
}

#[test]
fn other_data_take_a_stores_place_and_no_other_folders() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokens");
    write(&path, &[3, 2]);
    assert_eq!(write(&path, &[5]).len(), 1);
    let other = folder.path().join("other");
    std::fs::create_dir(&other).unwrap();
    std::fs::write(other.join("precious"), "x").unwrap();
    let error = StoreWriter::create(&other).err().unwrap().to_string();
    assert!(error.contains("exists and is no token store"), "{error}");
    // What a killed start left is no hindrance.
    std::fs::create_dir_all(folder.path().join("tokens.partial/x")).unwrap();
    assert_eq!(write(&path, &[5, 6]).len(), 2);
}

#[test]
fn damage_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokens");
    let check = |damage: &dyn Fn(), part: &str| {
        write(&path, &[3, 2]);
        damage();
        let error = TokenStore::open(&path).unwrap_err().to_string();
        assert!(error.contains(part) && error.contains("remove the folder"), "{error}");
        std::fs::remove_dir_all(&path).unwrap();
    };
    let cut = |name: &str, bytes: usize| std::fs::write(path.join(name), vec![0; bytes]).unwrap();
    check(&|| cut(TOKENS, 16), "tokens.u32 has 16 bytes, the header says 20");
    check(&|| cut(TRAINED, 0), "trained.bits has 0 bytes");
    check(&|| cut(OFFSETS, 24), "offsets or tags contradict");
    check(&|| std::fs::write(path.join(TAGS), [9, 9]).unwrap(), "offsets or tags contradict");
    check(&|| cut(HEADER, 5), "header.json is not a header");
    let counts = format!("{{\"examples\": {}, \"tokens\": {}}}", u64::MAX, u64::MAX);
    let huge = format!(
        "{{\"format\": \"xenoglot-tokens-1\", \"digest\": \"\", \"tags\": [], \"counts\": {counts}}}"
    );
    check(&|| std::fs::write(path.join(HEADER), &huge).unwrap(), "tokens.u32 has 20 bytes");
}

#[test]
fn lengths_and_losses_are_counted() {
    let folder = tempfile::tempdir().unwrap();
    let check = |too_long: TooLong, expected: &[u32], counts: [u64; 4]| {
        let path = folder.path().join("tokens");
        let mut writer = StoreWriter::create(&path).unwrap();
        for length in [3, 10, 1] {
            writer.fit(example(length, 0), 4, too_long, "").unwrap();
        }
        let store = writer.finish(String::new()).unwrap();
        assert_eq!(store.lengths(), expected, "{too_long:?}");
        let Counts { truncated, dropped, untrained, split, .. } = store.header().counts;
        assert_eq!([truncated, dropped, untrained, split], counts, "{too_long:?}");
    };
    check(TooLong::Truncate, &[3, 4], [1, 0, 1, 0]);
    check(TooLong::Drop, &[3], [0, 1, 1, 0]);
    // The last piece of ten has two tokens, of which the second is not trained.
    check(TooLong::Split, &[3, 4, 4], [0, 0, 1, 1]);
    let error = StoreWriter::create(&folder.path().join("none")).unwrap().finish(String::new()).unwrap_err();
    assert!(error.to_string().contains("no example"), "{error}");
    assert!(!folder.path().join("none.partial").exists());
}
