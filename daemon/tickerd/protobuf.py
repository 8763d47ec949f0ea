"""Fields of protobuf messages, as far as aggregates and Pub/Sub need them: numbers and bytes, no schema.

Source: "Encoding" of the protobuf documentation. Groups, which it calls deprecated, are refused. What is cut
short raises IndexError, whatever else is malformed ValueError.
"""

FIXED_BYTES = {1: 8, 5: 4}  # by wire type
FIELD_NUMBER_MAX = 2**29 - 1
VARINT_MAX = 2**64 - 1
VARINT_BYTES_MAX = 10


def varint(value: int) -> bytes:
    """A number that is not negative, seven bits a byte, the lowest first."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def read_varint(message: bytes, position: int) -> tuple[int, int]:
    """The number that begins at a position, and where the next thing begins."""
    byte = message[position]
    if byte <= 0x7F:
        return byte, position + 1
    value = byte & 0x7F
    for place in range(1, VARINT_BYTES_MAX):
        byte = message[position + place]
        value |= (byte & 0x7F) << 7 * place
        if byte <= 0x7F and value <= VARINT_MAX:
            return value, position + place + 1
    raise ValueError("a varint above 64 bits")


def read_field(message: bytes, position: int) -> tuple[int, int, bytes, int]:
    """The field that begins at a position: tag, number, content, and where the next one begins.

    The tag is the field's own number times 8 and its wire type. A varint has a number, all else has content.
    """
    tag, position = read_varint(message, position)
    if not 1 <= tag >> 3 <= FIELD_NUMBER_MAX:
        raise ValueError(f"a field numbered {tag >> 3}")
    wire_type = tag & 7
    if wire_type == 0:
        number, position = read_varint(message, position)
        return tag, number, b"", position
    if wire_type == 2:
        size, position = read_varint(message, position)
    elif wire_type in FIXED_BYTES:
        size = FIXED_BYTES[wire_type]
    else:
        raise ValueError(f"a field of wire type {wire_type}")
    if position + size > len(message):
        raise IndexError("a field beyond the end of its message")
    return tag, 0, message[position : position + size], position + size
