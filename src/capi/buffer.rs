#[derive(Debug)]
pub struct sp_buffer;
pub type SocketBuf_T = *mut sp_buffer;
