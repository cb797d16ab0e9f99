//! A request while it is answered: events as they happen, and the answer.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use futures_core::Stream;

use crate::model::events::Event;

/// A request that is being answered, by whoever polls it: nothing happens before, and the next token waits until the last
/// event was taken.
///
/// Await it for the answer. To see it come, take the events first, with [`Answering::next`] or as a [`Stream`]; they end
/// with the answer or with the error that was met, which awaiting then gives:
///
/// ```no_run
/// # use setokim::{AnswerOptions, Event, Message, Role, Setokim};
/// # async fn ask(model: &Setokim) -> setokim::Result<()> {
/// let messages = [Message::text(Role::User, "What can you draw?")];
/// let options = AnswerOptions::default();
/// let mut answering = model.chat(&messages, &options);
/// while let Some(event) = answering.next().await {
///     if let Event::Text(text) = event {
///         print!("{text}");
///     }
/// }
/// let answer = answering.await?;
/// # Ok(())
/// # }
/// ```
#[must_use = "nothing happens until it is awaited or asked for its events"]
pub struct Answering<F: Future, E = Event> {
    state: State<F>,
    events: Events<E>,
}

enum State<F: Future> {
    Running(Pin<Box<F>>),
    /// The answer, until it is taken.
    Over(Option<F::Output>),
}

// What must not move is in a box.
impl<F: Future, E> Unpin for Answering<F, E> {}

impl<F: Future, E> Answering<F, E> {
    /// A request that `answer` answers; it is given where its events go.
    pub(crate) fn new(answer: impl FnOnce(Events<E>) -> F) -> Self {
        let events = Events(Arc::new(Mutex::new(None)));
        Self { state: State::Running(Box::pin(answer(events.clone()))), events }
    }

    /// The next event; none once there is an answer or an error.
    pub async fn next(&mut self) -> Option<E> {
        poll_fn(|context| self.run(context)).await
    }

    /// Goes on to the next event or to the end.
    fn run(&mut self, context: &mut Context<'_>) -> Poll<Option<E>> {
        let State::Running(request) = &mut self.state else { return Poll::Ready(None) };
        match request.as_mut().poll(context) {
            Poll::Ready(answer) => {
                self.state = State::Over(Some(answer));
                Poll::Ready(None)
            }
            // It waits for the event to be taken, or for the device.
            Poll::Pending => self.events.take().map_or(Poll::Pending, |event| Poll::Ready(Some(event))),
        }
    }
}

impl<F: Future, E> Stream for Answering<F, E> {
    type Item = E;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<E>> {
        self.get_mut().run(context)
    }
}

impl<F: Future, E> Future for Answering<F, E> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.get_mut();
        loop {
            match this.run(context) {
                Poll::Ready(Some(_)) => {} // nobody looks at the events
                Poll::Ready(None) => break,
                Poll::Pending => return Poll::Pending,
            }
        }
        match &mut this.state {
            State::Over(answer) => Poll::Ready(answer.take().expect("a future is not polled after its end")),
            State::Running(_) => Poll::Pending,
        }
    }
}

/// Where a request leaves its events, one at a time.
pub(crate) struct Events<E = Event>(Arc<Mutex<Option<E>>>);

impl<E> Clone for Events<E> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<E> Events<E> {
    /// Leaves an event and waits until it is taken. Whoever takes it polls the request next, so that nobody has to be woken.
    pub(crate) async fn send(&self, event: E) {
        *self.slot() = Some(event);
        poll_fn(|_| if self.slot().is_none() { Poll::Ready(()) } else { Poll::Pending }).await;
    }

    fn take(&self) -> Option<E> {
        self.slot().take()
    }

    fn slot(&self) -> std::sync::MutexGuard<'_, Option<E>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Error, Result};

    fn counting(end: Result<u32>) -> Answering<impl Future<Output = Result<u32>>, u32> {
        Answering::new(async move |events: Events<u32>| {
            for number in 0..3 {
                events.send(number).await;
            }
            end
        })
    }

    #[test]
    fn events_come_one_after_the_other_and_then_the_answer() {
        pollster(async {
            let mut answering = counting(Ok(7));
            let mut seen = Vec::new();
            while let Some(event) = answering.next().await {
                seen.push(event);
            }
            assert_eq!((seen, answering.next().await), (vec![0, 1, 2], None));
            assert_eq!(answering.await.unwrap(), 7);
        });
    }

    #[test]
    fn the_answer_comes_without_looking_at_events_and_errors_come_with_it() {
        pollster(async {
            assert_eq!(counting(Ok(7)).await.unwrap(), 7);
            let mut answering = counting(Err(Error::Aborted));
            assert_eq!(answering.next().await, Some(0));
            assert_eq!(answering.await.unwrap_err().code(), "aborted");
        });
    }

    /// Runs a future that never waits for anything but itself.
    fn pollster(future: impl Future<Output = ()>) {
        let polled = std::pin::pin!(future).poll(&mut Context::from_waker(std::task::Waker::noop()));
        assert!(polled.is_ready(), "it waited");
    }
}
