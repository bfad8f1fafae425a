//! HTTP/2 frame by frame, for what no library would send: fields are literal and never compressed.

use std::collections::HashMap;
use std::time::Duration;

use serde_json::Value;
use tokio::time::sleep;
use tokio::time::timeout;

use crate::harness::gateway::Gateway;
use crate::harness::in_time;
use crate::harness::raw::Raw;
use crate::harness::raw::tls;

/// What every client begins with (RFC 9113 §3.4).
pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Types of frames (RFC 9113 §6).
pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const PRIORITY: u8 = 2;
pub(crate) const RESET: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PUSH_PROMISE: u8 = 5;
pub(crate) const PING: u8 = 6;
pub(crate) const GO_AWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;

/// Flags of frames.
pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;
pub(crate) const PADDED: u8 = 8;
pub(crate) const WITH_PRIORITY: u8 = 32;
pub(crate) const ACK: u8 = 1;

/// Settings (RFC 9113 §6.5.2).
pub(crate) const HEADER_TABLE_SIZE: u16 = 1;
pub(crate) const ENABLE_PUSH: u16 = 2;
pub(crate) const INITIAL_WINDOW_SIZE: u16 = 4;
pub(crate) const MAX_FRAME_SIZE: u16 = 5;

/// Error codes (RFC 9113 §7).
pub(crate) const PROTOCOL_ERROR: u32 = 1;
pub(crate) const FLOW_CONTROL_ERROR: u32 = 3;
pub(crate) const STREAM_CLOSED: u32 = 5;
pub(crate) const FRAME_SIZE_ERROR: u32 = 6;
pub(crate) const REFUSED_STREAM: u32 = 7;
pub(crate) const CANCEL: u32 = 8;
pub(crate) const COMPRESSION_ERROR: u32 = 9;
pub(crate) const ENHANCE_YOUR_CALM: u32 = 11;

/// What every server takes without having been asked.
const FRAME_BYTES_MAX: usize = 16 * 1024;

/// A connection.
pub(crate) struct Http2 {
    raw: Raw,
    answers: HashMap<u32, Partial>,
}

#[derive(Default)]
struct Partial {
    status: u16,
    body: Vec<u8>,
}

/// A frame that came.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// A status, and the `code` of the problem; empty where the answer is none.
    Answered(u16, String),
    /// The stream was reset, with this error.
    Reset(u32),
    /// The connection was ended, with this error if one was named.
    Closed(Option<u32>),
}

impl Outcome {
    /// The status of an answer.
    #[track_caller]
    pub(crate) fn status(&self) -> u16 {
        match self {
            Self::Answered(status, _) => *status,
            Self::Reset(_) | Self::Closed(_) => panic!("no answer: {self:?}"),
        }
    }

    /// An answer that is no problem, or one that is.
    pub(crate) fn answered(status: u16, code: &str) -> Self {
        Self::Answered(status, code.to_owned())
    }
}

impl Http2 {
    /// Connects, and says hello.
    pub(crate) async fn connect(gateway: &Gateway) -> Self {
        Self::connect_with(gateway, &[]).await
    }

    /// With settings of one's own.
    pub(crate) async fn connect_with(gateway: &Gateway, settings: &[(u16, u32)]) -> Self {
        let mut http2 = Self::connect_silently(gateway).await;
        http2.raw.send(PREFACE).await;
        // Without a table there is no state to keep for reading a status.
        let mut payload = Vec::new();
        for (name, value) in settings.iter().chain(&[(HEADER_TABLE_SIZE, 0)]) {
            payload.extend(name.to_be_bytes());
            payload.extend(value.to_be_bytes());
        }
        http2.send(SETTINGS, 0, 0, &payload).await;
        http2
    }

    /// Connects, and says nothing yet.
    pub(crate) async fn connect_silently(gateway: &Gateway) -> Self {
        let stream = tls(gateway.address(), &gateway.authority(), b"h2").await;
        Self {
            raw: Raw::new(stream),
            answers: HashMap::new(),
        }
    }

    /// The bytes of the connection.
    pub(crate) fn raw(&mut self) -> &mut Raw {
        &mut self.raw
    }

    /// Sends one frame.
    pub(crate) async fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        self.raw.send(frame(kind, flags, stream, payload)).await;
    }

    /// Sends a header block, in as many frames as it needs.
    pub(crate) async fn headers(&mut self, stream: u32, flags: u8, fields: &[(&str, &str)]) {
        let block = block(fields);
        let mut pieces = block.chunks(FRAME_BYTES_MAX).peekable();
        let mut kind = HEADERS;
        let mut flags = flags;
        while let Some(piece) = pieces.next() {
            let last = if pieces.peek().is_none() {
                END_HEADERS
            } else {
                0
            };
            self.send(kind, flags | last, stream, piece).await;
            (kind, flags) = (CONTINUATION, 0);
        }
    }

    /// Sends a request without a body and waits for what becomes of it.
    pub(crate) async fn ask(&mut self, stream: u32, fields: &[(&str, &str)]) -> Outcome {
        self.headers(stream, END_STREAM, fields).await;
        self.outcome(stream).await
    }

    /// Sends the same bytes again and again, with pauses, until something has become of a stream.
    pub(crate) async fn trickle(&mut self, stream: u32, bytes: &[u8]) -> Outcome {
        let trickling = async {
            loop {
                tokio::select! {
                    outcome = self.read_outcome(stream) => return outcome,
                    () = sleep(Duration::from_millis(50)) => {
                        self.raw.send(bytes).await;
                    }
                }
            }
        };
        in_time("somebody to have enough of a trickle", trickling).await
    }

    /// Waits until something of the answer on a stream has come, of its body.
    pub(crate) async fn until_data(&mut self, stream: u32) {
        let before = self.answered(stream);
        let more = async {
            while self.answered(stream) == before {
                self.read_frame(stream).await;
            }
        };
        in_time("a piece of an answer", more).await;
    }

    fn answered(&self, stream: u32) -> usize {
        let answer = self.answers.get(&stream);
        answer.map_or(0, |answer| answer.body.len())
    }

    /// Sends the same bytes so often, reading what comes meanwhile, or until the connection ends.
    pub(crate) async fn flood(&mut self, bytes: &[u8], times: usize) -> Option<Outcome> {
        for _ in 0..times {
            let is_open = self.raw.send(bytes).await;
            let read = timeout(Duration::ZERO, self.read_outcome(u32::MAX)).await;
            match read {
                Ok(outcome) => return Some(outcome),
                Err(_) if is_open => {}
                Err(_) => return Some(self.outcome(u32::MAX).await),
            }
        }
        None
    }

    /// Waits for what becomes of a stream, and answers pings meanwhile.
    pub(crate) async fn outcome(&mut self, stream: u32) -> Outcome {
        let outcome = self.read_outcome(stream);
        in_time("what becomes of a stream", outcome).await
    }

    /// Whoever stops waiting loses nothing.
    async fn read_outcome(&mut self, stream: u32) -> Outcome {
        loop {
            if let Some(outcome) = self.read_frame(stream).await {
                return outcome;
            }
        }
    }

    /// Reads the next frame, whatever it is; `None` where the connection ends. Whoever stops waiting loses
    /// nothing.
    pub(crate) async fn frame(&mut self) -> Option<Frame> {
        let head = self.raw.peek(9).await?;
        let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
        self.raw.peek(9 + length).await?;
        let mut frame = self.raw.exactly(9 + length).await;
        let payload = frame.split_off(9);
        Some(Frame {
            kind: frame[3],
            flags: frame[4],
            stream: u32::from_be_bytes(frame[5..].try_into().unwrap()),
            payload,
        })
    }

    /// Waits for the next frame of a stream, and answers pings meanwhile.
    pub(crate) async fn frame_of(&mut self, stream: u32) -> Frame {
        let waiting = async {
            loop {
                let frame = self.frame().await.expect("the connection is still open");
                match frame.kind {
                    PING if frame.flags & ACK == 0 => {
                        self.send(PING, ACK, 0, &frame.payload).await;
                    }
                    _ if frame.stream == stream => return frame,
                    _ => {}
                }
            }
        };
        in_time("a frame", waiting).await
    }

    /// Reads one frame: what has become of the stream by it, if anything has.
    async fn read_frame(&mut self, stream: u32) -> Option<Outcome> {
        let Some(Frame {
            kind,
            flags,
            stream: on,
            payload,
        }) = self.frame().await
        else {
            return Some(Outcome::Closed(None));
        };
        let code = |at: usize| u32::from_be_bytes(payload[at..at + 4].try_into().unwrap());
        match kind {
            PING if flags & ACK == 0 => self.send(PING, ACK, 0, &payload).await,
            GO_AWAY if code(4) != 0 => return Some(Outcome::Closed(Some(code(4)))),
            RESET if on == stream => return Some(Outcome::Reset(code(0))),
            HEADERS => self.answers.entry(on).or_default().status = status(&payload),
            DATA => self.answers.entry(on).or_default().body.extend(payload),
            _ => {}
        }
        let is_last = matches!(kind, HEADERS | DATA) && flags & END_STREAM != 0;
        (on == stream && is_last).then(|| {
            let Partial { status, body } = self.answers.remove(&on).unwrap();
            let problem = serde_json::from_slice::<Value>(&body).unwrap_or_default();
            let code = problem["code"].as_str().unwrap_or_default();
            Outcome::answered(status, code)
        })
    }
}

/// The bytes of a frame.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// Literal fields without indexing and without Huffman (RFC 7541 §6.2.2).
pub(crate) fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            length(&mut block, text.len());
            block.extend(text.as_bytes());
        }
    }
    block
}

/// A length in a prefix of seven bits (RFC 7541 §5.1).
fn length(block: &mut Vec<u8>, length: usize) {
    let byte = |value: usize| u8::try_from(value).unwrap();
    let Some(mut rest) = length.checked_sub(127) else {
        block.push(byte(length));
        return;
    };
    block.push(127);
    while rest >= 128 {
        block.push(byte(rest % 128) | 128);
        rest /= 128;
    }
    block.push(byte(rest));
}

/// The status with which a header block begins: from the static table, or three literal digits.
fn status(block: &[u8]) -> u16 {
    // The encoder says first that it has no table.
    let block = block.strip_prefix(&[0x20]).unwrap_or(block);
    let listed = [200, 204, 206, 304, 400, 404, 500];
    if let 0x88..=0x8e = block[0] {
        return listed[usize::from(block[0] - 0x88)];
    }
    assert_eq!(block[0] & 0x0f, 8, "{block:x?}");
    let is_huffman = block[1] & 0x80 != 0;
    let text = &block[2..2 + usize::from(block[1] & 0x7f)];
    if !is_huffman {
        return std::str::from_utf8(text).unwrap().parse().unwrap();
    }
    // Digits: five bits for 0 to 2, six for the others (RFC 7541, Appendix B).
    let bits = text
        .iter()
        .fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte));
    let mut left = text.len() * 8;
    let mut status = 0;
    for _ in 0..3 {
        let five = bits >> (left - 5) & 0b1_1111;
        let (digit, used) = match five {
            0..=2 => (five, 5),
            _ => ((bits >> (left - 6) & 0b11_1111) - 0b1_1001 + 3, 6),
        };
        left -= used;
        status = status * 10 + u16::try_from(digit).unwrap();
    }
    status
}
