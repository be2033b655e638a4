use super::*;
use crate::base::ErrorKind;

/// Opens, writes a row, closes, and opens again with other specs.
fn open_again(before: &StoreSpec, after: &StoreSpec, identity: &Identity) -> crate::Result<bool> {
    let place = tempfile::tempdir().expect("a directory");
    let mut bench = Bench::memory(std::slice::from_ref(before));
    bench.state = open_rocks(
        place.path(),
        std::slice::from_ref(before),
        &super::identity(),
    )
    .expect("opens");
    match bench.state.window("s") {
        Ok(store) => {
            store.put(b"a", 0, Some(b"x")).expect("puts");
        }
        Err(_) => write(&bench.state.key_value("s").expect("is there"), "a", "x"),
    }
    Changelogs::default().commit(&mut bench);
    bench.state.flush().expect("flushes");
    drop(bench);
    let state = open_rocks(place.path(), std::slice::from_ref(after), identity)?;
    let rows = state.checksum()?[0].1;
    assert_eq!(
        rows > 0,
        state.position(0).is_some(),
        "rows and position go together"
    );
    Ok(rows > 0)
}

#[test]
fn a_store_of_other_rules_is_refused_with_the_cure() {
    let before = window("s", StoreType::Persistent, false);
    let same = open_again(&before, &before, &identity()).expect("opens");
    assert!(same, "the same store keeps its rows");
    let mut retention = before.clone();
    retention.kind = StoreKind::window(WindowRules {
        window_size_ms: 10,
        retention_ms: 101,
        duplicates: false,
    });
    let mut codec = before.clone();
    codec.codecs.1 = "json".into();
    let store_type = window("s", StoreType::InMemory, false);
    for after in [retention, codec, store_type, key_value("s", false)] {
        let error = open_again(&before, &after, &identity()).expect_err("refused");
        assert_eq!(error.kind(), ErrorKind::Invalid);
        let message = error.message();
        let named = [
            "store s",
            "retention=100ms",
            "another name",
            "delete the state directory",
        ];
        assert!(named.iter().all(|part| message.contains(part)), "{message}");
    }
}

#[test]
fn rows_of_another_log_are_dropped_and_another_application_is_refused() {
    let spec = key_value("s", false);
    let mut other = identity();
    other.log_incarnation += 1;
    assert!(
        !open_again(&spec, &spec, &other).expect("opens"),
        "to be restored"
    );
    other.application = "other".into();
    let error = open_again(&spec, &spec, &other).expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.message().contains("belongs to application app"));
}

#[test]
fn newer_formats_and_damage_are_refused() {
    let good = meta::encode_identity(&identity());
    assert_eq!(meta::decode_identity(&good).expect("reads"), identity());
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 0x40;
        let error = meta::decode_identity(&bad).expect_err("refused");
        assert_eq!(error.kind(), ErrorKind::Corrupt, "byte {at}");
    }
    assert!(meta::decode_identity(&good[..20]).is_err());
}

#[test]
fn a_foreign_record_on_a_changelog_is_named_by_its_offset() {
    let bench = Bench::memory(&[window("w", StoreType::Persistent, false)]);
    let mut stored = into_stored(bench.state);
    let mut builder = BatchBuilder::default();
    builder.push(Some(b"short"), Some(b"x"), 0, &[]);
    let batch = builder.seal().expect("one record");
    stored.begin_restore(0, false).expect("begins");
    let mut cursor = batch.cursor(41);
    let record = cursor.next_record().expect("intact").expect("one");
    let error = stored.restore(0, &record).expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.message().contains("offset 41"), "{error}");
}

#[test]
fn stores_are_asked_for_by_name_and_kind() {
    let bench = Bench::memory(&[key_value("s", false)]);
    assert!(bench.state.key_value("s").is_ok());
    assert!(bench.state.window("s").is_err() && bench.state.key_value("t").is_err());
}
