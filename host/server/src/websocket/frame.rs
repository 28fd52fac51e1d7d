//! Frames of RFC 6455: the headers of those that go out, and reading those that come in.

use bytes::{Buf as _, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _};

/// The largest frame that a client may send; what it says is thrown away.
const FRAME_BYTES_MAX: u64 = 64 * 1024;
/// The largest control frame, by the protocol.
const CONTROL_BYTES_MAX: u64 = 125;

/// What a frame that goes out is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Opcode {
    Text = 1,
    Binary = 2,
    Close = 8,
    Ping = 9,
    Pong = 10,
}

/// The header of a whole message of a length.
pub(crate) fn header(opcode: Opcode, length: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(10 + length.min(256));
    out.push(0x80 | opcode as u8);
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(short), _) if short < 126 => out.push(short),
        (_, Ok(middle)) => {
            out.push(126);
            out.extend_from_slice(&middle.to_be_bytes());
        }
        _ => {
            out.push(127);
            out.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    out
}

/// What has come in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Frame {
    /// Something that nobody reads.
    Data,
    Ping(Bytes),
    Pong,
    /// The client says farewell, or must be told so: the code of the answer.
    Close(u16),
    /// The connection has ended.
    Gone,
}

/// Reads frames; a read that is broken off loses nothing.
#[derive(Debug)]
pub(super) struct Frames<R> {
    read: R,
    buffer: BytesMut,
}

impl<R: AsyncRead + Unpin> Frames<R> {
    pub(super) fn new(read: R) -> Self {
        Self { read, buffer: BytesMut::new() }
    }

    pub(super) async fn next(&mut self) -> Frame {
        loop {
            if let Some(frame) = parse(&mut self.buffer) {
                return frame;
            }
            match self.read.read_buf(&mut self.buffer).await {
                Ok(1..) => {}
                Ok(0) | Err(_) => return Frame::Gone,
            }
        }
    }
}

/// The first frame of the buffer, which is taken out; `None` until it is whole.
fn parse(buffer: &mut BytesMut) -> Option<Frame> {
    const PROTOCOL_ERROR: Frame = Frame::Close(1002);
    let (first, second) = (*buffer.first()?, *buffer.get(1)?);
    let (opcode, masked) = (first & 0x0f, second & 0x80 != 0);
    let (length, head) = match second & 0x7f {
        126 => (u64::from(u16::from_be_bytes(buffer.get(2..4)?.try_into().ok()?)), 4),
        127 => (u64::from_be_bytes(buffer.get(2..10)?.try_into().ok()?), 10),
        short => (u64::from(short), 2),
    };
    // Clients mask what they send; extensions, which would use the reserved bits, were not agreed on.
    if !masked || first & 0x70 != 0 || !matches!(opcode, 0..=2 | 8..=10) {
        return Some(PROTOCOL_ERROR);
    }
    let is_control = opcode >= 8;
    if is_control && (length > CONTROL_BYTES_MAX || first & 0x80 == 0) {
        return Some(PROTOCOL_ERROR);
    }
    if length > FRAME_BYTES_MAX {
        return Some(Frame::Close(1009));
    }
    let length = usize::try_from(length).ok()?;
    let mask: [u8; 4] = buffer.get(head..head + 4)?.try_into().ok()?;
    if buffer.len() < head + 4 + length {
        return None;
    }
    buffer.advance(head + 4);
    let mut payload = buffer.split_to(length);
    for (byte, key) in payload.iter_mut().zip(mask.iter().cycle()) {
        *byte ^= key;
    }
    Some(match opcode {
        8 => Frame::Close(payload.get(..2).map_or(1000, |code| {
            u16::from_be_bytes([*code.first().unwrap_or(&0), *code.get(1).unwrap_or(&0)])
        })),
        9 => Frame::Ping(payload.freeze()),
        10 => Frame::Pong,
        _ => Frame::Data,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masked(first: u8, payload: &[u8]) -> BytesMut {
        let mut out = BytesMut::new();
        out.extend_from_slice(&[first, 0x80 | u8::try_from(payload.len()).expect("short")]);
        out.extend_from_slice(&[1, 2, 3, 4]);
        out.extend(payload.iter().zip([1, 2, 3, 4].iter().cycle()).map(|(byte, key)| byte ^ key));
        out
    }

    #[test]
    fn frames_are_read_when_they_are_whole() {
        let whole = masked(0x89, b"hello");
        for end in 0..whole.len() {
            assert_eq!(parse(&mut BytesMut::from(&whole[..end])), None, "{end}");
        }
        let mut two = [whole, masked(0x81, b"x")].concat().as_slice().into();
        assert_eq!(parse(&mut two), Some(Frame::Ping(Bytes::from_static(b"hello"))));
        assert_eq!(parse(&mut two), Some(Frame::Data));
        assert_eq!(parse(&mut masked(0x88, &1001_u16.to_be_bytes())), Some(Frame::Close(1001)));
        assert_eq!(parse(&mut masked(0x88, b"")), Some(Frame::Close(1000)));
    }

    #[test]
    fn what_breaks_the_protocol_ends_the_conversation() {
        let close = |bytes: &[u8]| parse(&mut BytesMut::from(bytes));
        assert_eq!(close(&[0x81, 1, b'x']), Some(Frame::Close(1002)), "not masked");
        assert_eq!(close(&[0xc1, 0x80, 0, 0, 0, 0]), Some(Frame::Close(1002)), "reserved bits");
        assert_eq!(close(&[0x89, 0xfe, 1, 0]), Some(Frame::Close(1002)), "a large ping");
        let large = [&[0x82, 0xff][..], &(1_u64 << 40).to_be_bytes()].concat();
        assert_eq!(close(&large), Some(Frame::Close(1009)));
    }

    #[test]
    fn headers_hold_every_length() {
        assert_eq!(header(Opcode::Text, 5), [0x81, 5]);
        assert_eq!(header(Opcode::Binary, 126), [0x82, 126, 0, 126]);
        assert_eq!(header(Opcode::Text, 65_536), [0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0]);
    }
}
