//! Commands as bytes between nodes and in logs: postcard, within a length, and without towers of orders around orders,
//! which would cost the stack of whoever reads them.

use crate::base::codec::DecodeError;
use crate::base::limits::CONTROL_COMMAND_BYTES_MAX;
use crate::proto::audit::By;
use crate::proto::control::Command;

/// The number of [`Command::Ordered`].
const ORDERED: u32 = 13;
/// Orders around a command: whoever forwards one adds none of its own.
const ORDERS_MAX: usize = 2;

impl Command {
    /// Its bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        postcard::to_stdvec(self).unwrap_or_else(|error| {
            // Only a type that postcard cannot represent fails here: a bug of ours, found by that type's first test.
            unreachable!("a command must be representable: {error}")
        })
    }

    /// Reverses [`Command::to_bytes`], for bytes of anybody.
    ///
    /// # Errors
    /// [`DecodeError::Content`] for anything else.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        if bytes.len() > CONTROL_COMMAND_BYTES_MAX || orders(bytes) > ORDERS_MAX {
            return Err(DecodeError::Content);
        }
        match postcard::take_from_bytes(bytes) {
            Ok((command, [])) => Ok(command),
            Ok(_) | Err(_) => Err(DecodeError::Content),
        }
    }
}

/// How many orders are around the command in these bytes, counted no further than what is too many.
fn orders(mut bytes: &[u8]) -> usize {
    for orders in 0..=ORDERS_MAX {
        let Ok((ORDERED, rest)) = postcard::take_from_bytes::<u32>(bytes) else { return orders };
        let Ok((_, rest)) = postcard::take_from_bytes::<(By, String)>(rest) else { return orders };
        bytes = rest;
    }
    ORDERS_MAX + 1
}

#[cfg(test)]
mod tests {
    use crate::base::codec::DecodeError;
    use crate::base::limits::CONTROL_COMMAND_BYTES_MAX;
    use crate::proto::audit::By;
    use crate::proto::audit::Via;
    use crate::proto::control::Command;

    fn ordered(command: Command) -> Command {
        let by = By { name: "ann".into(), via: Via::Local, from: None, at_ms: 1 };
        Command::Ordered { by, what: "notes".into(), command: Box::new(command) }
    }

    #[test]
    fn a_command_is_read_as_it_was_written_and_a_tower_of_orders_is_not() {
        let mut command = Command::Note;
        for _ in 0..=2 {
            assert_eq!(Command::from_bytes(&command.to_bytes()), Ok(command.clone()));
            command = ordered(command);
        }
        assert_eq!(Command::from_bytes(&command.to_bytes()), Err(DecodeError::Content));
        let order = ordered(Command::Note).to_bytes();
        let (_note, head) = order.split_last().unwrap();
        let tower = head.repeat(CONTROL_COMMAND_BYTES_MAX / head.len());
        assert_eq!(Command::from_bytes(&tower), Err(DecodeError::Content));
        assert_eq!(Command::from_bytes(&[Command::Note.to_bytes(), vec![0]].concat()), Err(DecodeError::Content));
        let long = Command::RemoveBucket { name: "a".repeat(CONTROL_COMMAND_BYTES_MAX) };
        assert_eq!(Command::from_bytes(&long.to_bytes()), Err(DecodeError::Content));
    }
}
