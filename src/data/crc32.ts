/**
 * Checksums of 32 bits: bytes as polynomials over two elements, divided by a fixed one. Four bytes a step:
 * `tables[k]` holds what a byte becomes when k more zero bytes follow it.
 */
type Tables = readonly [Int32Array, Int32Array, Int32Array, Int32Array];

/** `polynomial` has its bits reversed. */
function tablesOf(polynomial: number): Tables {
  return [0, 1, 2, 3].map((zeros) =>
    Int32Array.from({ length: 256 }, (_, byte) => {
      let remainder = byte;
      for (let bit = 0; bit < 8 * (zeros + 1); bit++) {
        remainder = (remainder >>> 1) ^ (remainder & 1 ? polynomial : 0);
      }
      return remainder;
    }),
  ) as unknown as Tables;
}

const ieee = tablesOf(0xedb88320);
const castagnoli = tablesOf(0x82f63b78);

/**
 * CRC-32 of `bytes`, of zip, gzip and PNG, as an unsigned 32-bit number.
 * @param before checksum of the bytes that come before these. @default 0, there are none
 */
export function crc32(bytes: Uint8Array, before = 0): number {
  return checksum(bytes, ieee, before);
}

/** CRC-32C of `bytes` (RFC 3720, appendix B.4), of TensorFlow's records, as an unsigned 32-bit number. */
export function crc32c(bytes: Uint8Array): number {
  return checksum(bytes, castagnoli, 0);
}

function checksum(bytes: Uint8Array, [one, two, three, four]: Tables, before: number): number {
  let crc = ~before;
  let i = 0;
  for (const last = bytes.length - 4; i <= last; i += 4) {
    crc ^= bytes[i]! | (bytes[i + 1]! << 8) | (bytes[i + 2]! << 16) | (bytes[i + 3]! << 24);
    crc =
      four[crc & 0xff]! ^ three[(crc >>> 8) & 0xff]! ^ two[(crc >>> 16) & 0xff]! ^ one[(crc >>> 24) & 0xff]!;
  }
  for (; i < bytes.length; i++) crc = (crc >>> 8) ^ one[(crc ^ bytes[i]!) & 0xff]!;
  return ~crc >>> 0;
}
