#[path = "it/flask.rs"]
mod flask;
