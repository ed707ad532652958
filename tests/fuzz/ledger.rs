use p2p_fed_ledger::Unverified;

#[test]
fn record() {
    bolero::check!().with_type::<Vec<u8>>().for_each(|bytes| {
        let bytes: &[u8] = bytes;
        if let Ok(record) = Unverified::decode(bytes) {
            assert!(record.record().statement.check().is_ok());
        }
    });
}
