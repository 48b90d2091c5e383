//! What a failure says about the server's side.

use h2::Reason;

/// How far a call had come when it failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// It never left the client.
    Unsent,
    /// The server told that it did not process it.
    Refused,
    /// It may have been processed.
    Failed,
    /// The response had begun.
    Committed,
}

/// What an error of a stream means before its response headers.
///
/// [RFC 9113, section 8.7](https://www.rfc-editor.org/rfc/rfc9113#section-8.7): a reset with `REFUSED_STREAM`, or a GOAWAY whose
/// last stream is before this one, says that it was not processed. `h2` ends exactly the streams after the last one with
/// the peer's GOAWAY (its `recv_go_away`); the others run on, and end with whatever ends them: a lost connection is an IO error
/// also when a GOAWAY came before it.
pub(crate) fn classify(error: &h2::Error) -> Class {
    let refused = error.is_reset() && error.reason() == Some(Reason::REFUSED_STREAM);
    if error.is_remote() && (refused || error.is_go_away()) {
        Class::Refused
    } else {
        Class::Failed
    }
}

#[cfg(test)]
mod tests {
    use crate::client::retry::{Class, classify};
    use h2::Reason;
    use http::Request;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

    const SETTINGS: [u8; 9] = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    /// The stream of the one call.
    const STREAM: u32 = 1;

    /// An HTTP/2 frame.
    fn frame(kind: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        let mut frame = vec![length[1], length[2], length[3], kind, 0];
        frame.extend(stream.to_be_bytes());
        frame.extend(payload);
        frame
    }

    fn reset(reason: u32) -> Vec<u8> {
        frame(3, STREAM, &reason.to_be_bytes())
    }

    fn go_away(last: u32, reason: u32) -> Vec<u8> {
        let payload = [last.to_be_bytes(), reason.to_be_bytes()].concat();
        frame(7, 0, &payload)
    }

    /// Reads up to the end of the request's headers.
    async fn request(connection: &mut DuplexStream) {
        let mut preface = [0; 24];
        connection.read_exact(&mut preface).await.unwrap();
        loop {
            let mut head = [0; 9];
            connection.read_exact(&mut head).await.unwrap();
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
            let mut payload = vec![0; length as usize];
            connection.read_exact(&mut payload).await.unwrap();
            if head[3] == 1 {
                return;
            }
        }
    }

    /// What a call fails with whose server answers with these bytes, and closes the connection.
    async fn failure(answer: &[u8]) -> h2::Error {
        let (ours, mut theirs) = tokio::io::duplex(1 << 16);
        theirs.write_all(&SETTINGS).await.unwrap();
        let (requests, connection) = h2::client::handshake(ours).await.unwrap();
        tokio::spawn(connection);
        let mut requests = requests.ready().await.unwrap();
        let call = Request::post("http://server/a.B/C").body(()).unwrap();
        let (response, _stream) = requests.send_request(call, true).unwrap();
        request(&mut theirs).await;
        theirs.write_all(answer).await.unwrap();
        theirs.shutdown().await.unwrap();
        response.await.expect_err("the server answered no response")
    }

    #[tokio::test]
    async fn of_all_resets_only_a_refused_stream_was_not_processed() {
        for reason in 0..=14 {
            let error = failure(&reset(reason)).await;
            assert!(error.is_reset() && error.is_remote(), "{reason}: {error:?}");
            let refused = Reason::from(reason) == Reason::REFUSED_STREAM;
            let expected = if refused {
                Class::Refused
            } else {
                Class::Failed
            };
            assert_eq!(classify(&error), expected, "{error:?}");
        }
    }

    #[tokio::test]
    async fn a_go_away_refuses_the_streams_after_its_last_one_whatever_its_reason() {
        for reason in 0..=14 {
            let error = failure(&go_away(0, reason)).await;
            assert_eq!(classify(&error), Class::Refused, "{error:?}");
            let error = failure(&go_away(STREAM, reason)).await;
            assert_eq!(classify(&error), Class::Failed, "{error:?}");
        }
    }

    #[tokio::test]
    async fn a_go_away_in_two_steps_goes_by_the_second() {
        let first = go_away(0x7fff_ffff, 0);
        for (last, expected) in [(0, Class::Refused), (STREAM, Class::Failed)] {
            let answer = [first.clone(), go_away(last, 0)].concat();
            let error = failure(&answer).await;
            assert_eq!(classify(&error), expected, "{error:?}");
        }
    }

    #[tokio::test]
    async fn a_lost_connection_or_a_broken_protocol_may_have_processed_it() {
        // DATA is for streams only.
        let cases = [Vec::new(), frame(0, 0, b"data")];
        for answer in cases {
            let error = failure(&answer).await;
            assert_eq!(classify(&error), Class::Failed, "{error:?}");
        }
        let local = h2::Error::from(Reason::REFUSED_STREAM);
        assert_eq!(classify(&local), Class::Failed, "nobody refused it");
    }
}
