#[derive(Clone, Debug)]
pub(super) struct Sqlite;
