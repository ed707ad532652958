//! From tracing's events to lines.

use std::{
    io::Write,
    sync::{Mutex, PoisonError},
};

use time::OffsetDateTime;
use tracing::{
    Event, Subscriber,
    span::{Attributes, Id, Record},
};
use tracing_subscriber::{Layer, layer::Context, registry::LookupSpan};

use super::{Format, console, fields::Fields, json};

/// Our own crates; where an event of another one comes from is worth a field.
const OURS: &str = "p2p_fed";

/// Writes each event as a line.
pub(super) struct Lines<W> {
    format: Format,
    is_coloured: bool,
    now: fn() -> OffsetDateTime,
    /// Locked for one write of one line, so that lines of several threads don't mix.
    out: Mutex<W>,
}

/// The time of day where this machine is; UTC where the system does not say.
pub(super) fn local_now() -> OffsetDateTime {
    OffsetDateTime::now_local().unwrap_or_else(|_| OffsetDateTime::now_utc())
}

impl<W: Write> Lines<W> {
    pub(super) fn new(format: Format, is_coloured: bool, now: fn() -> OffsetDateTime, out: W) -> Self {
        Self { format, is_coloured, now, out: Mutex::new(out) }
    }
}

impl<S, W> Layer<S> for Lines<W>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: Write + Send + 'static,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        if let Some(span) = context.span(id) {
            let mut fields = Fields::default();
            attributes.record(&mut fields);
            span.extensions_mut().insert(fields);
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        if let Some(span) = context.span(id)
            && let Some(fields) = span.extensions_mut().get_mut::<Fields>()
        {
            values.record(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        for span in context.event_scope(event).into_iter().flatten() {
            if let Some(outer) = span.extensions().get::<Fields>() {
                fields.append(outer);
            }
        }
        let metadata = event.metadata();
        if !metadata.target().starts_with(OURS) {
            fields.set("target", metadata.target().into());
        }
        let line = match self.format {
            Format::Console => console::line((self.now)(), *metadata.level(), &fields, self.is_coloured),
            Format::Json => json::line((self.now)(), *metadata.level(), &fields),
        };
        // Whoever read us is gone, or the disk is full: there is nowhere left to say so.
        let _ = self.out.lock().unwrap_or_else(PoisonError::into_inner).write_all(line.as_bytes());
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::{io, sync::Arc};

    use time::macros::datetime;
    use tracing::{Level, info, info_span, subscriber::with_default};
    use tracing_subscriber::{Registry, layer::SubscriberExt};

    use super::*;

    /// What was written.
    #[derive(Clone, Default)]
    pub(in crate::telemetry) struct Captured(Arc<Mutex<Vec<u8>>>);

    impl Write for Captured {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Captured {
        pub(in crate::telemetry) fn lines(&self, format: Format, is_coloured: bool) -> Lines<Self> {
            Lines::new(format, is_coloured, || datetime!(2026-01-01 15:04:05 UTC), self.clone())
        }

        pub(in crate::telemetry) fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    fn said(format: Format, say: impl FnOnce()) -> String {
        let captured = Captured::default();
        with_default(Registry::default().with(captured.lines(format, false)), say);
        captured.text()
    }

    #[test]
    fn fields_of_every_kind() {
        let text = said(Format::Console, || {
            let error = io::Error::new(io::ErrorKind::ConnectionRefused, "connection refused");
            info!(node = %"gpu1", port = 80u16, delta = -1, share = 0.5, ready = true, kind = ?Some(1), r#type = "x", "worker up");
            tracing::warn!(attempt = 2, error = &error as &dyn std::error::Error, "worker left out");
            tracing::error!(ratio = f64::NAN, level = "deep", big = u128::MAX, "odd");
        });
        assert_eq!(
            text,
            "3:04PM INF worker up node=gpu1 port=80 delta=-1 share=0.5 ready=true kind=Some(1) type=x\n\
             3:04PM WRN worker left out error=\"connection refused\" attempt=2\n\
             3:04PM ERR odd ratio=NaN level_=deep big=340282366920938463463374607431768211455\n"
        );
    }

    #[test]
    fn fields_of_spans_follow_the_innermost_first() {
        let text = said(Format::Console, || {
            let _node = info_span!("node", node = "12D3", name = "front").entered();
            let conn = info_span!("conn", conn = 7, peer = tracing::field::Empty, name = "conn").entered();
            conn.record("peer", "192.0.2.1:5");
            info!(service = "llm", conn = 8, "tunnel opened");
            drop(conn);
            info!("done");
        });
        assert_eq!(
            text,
            "3:04PM INF tunnel opened service=llm conn=8 name=conn peer=192.0.2.1:5 node=12D3\n3:04PM INF done node=12D3 name=front\n"
        );
    }

    #[test]
    fn json_has_the_same() {
        let text = said(Format::Json, || {
            let _conn = info_span!("conn", conn = 7).entered();
            info!(time = 3, error = "no \"route\"\n", "failed");
            tracing::event!(target: "libp2p_swarm", Level::DEBUG, "theirs");
        });
        assert_eq!(
            text,
            "{\"level\":\"info\",\"time\":\"2026-01-01T15:04:05.000Z\",\"message\":\"failed\",\"error\":\"no \\\"route\\\"\\n\",\
             \"time_\":3,\"conn\":7}\n\
             {\"level\":\"debug\",\"time\":\"2026-01-01T15:04:05.000Z\",\"message\":\"theirs\",\"conn\":7,\"target\":\"libp2p_swarm\"}\n"
        );
    }

    #[test]
    fn a_broken_pipe_is_ignored() {
        struct Broken;
        impl Write for Broken {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
        }
        let lines = Lines::new(Format::Console, false, local_now, Broken);
        with_default(Registry::default().with(lines), || info!("into the void"));
    }

    #[test]
    fn lines_of_many_threads_do_not_mix() {
        let captured = Captured::default();
        let subscriber: Arc<dyn Subscriber + Send + Sync> =
            Arc::new(Registry::default().with(captured.lines(Format::Console, false)));
        std::thread::scope(|scope| {
            for thread in 0..8 {
                let subscriber = subscriber.clone();
                scope.spawn(move || {
                    with_default(subscriber, || {
                        (0..100).for_each(|_| info!(thread, "a line that is long enough to be cut in two"))
                    });
                });
            }
        });
        let text = captured.text();
        assert_eq!(text.lines().count(), 800);
        assert!(
            text.lines().all(|line| line.starts_with("3:04PM INF a line that is long enough to be cut in two thread="))
        );
    }
}
