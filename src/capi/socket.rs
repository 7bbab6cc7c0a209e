#[derive(Debug)]
pub struct sp_socket;
pub type Socket_T = *mut sp_socket;
