/** Checksums of 32 bits: bytes as polynomials over two elements, divided by a fixed one. */

/** The remainder of every byte; `polynomial` has its bits reversed. */
function tableOf(polynomial: number): Int32Array {
  return Int32Array.from({ length: 256 }, (_, byte) => {
    let remainder = byte;
    for (let bit = 0; bit < 8; bit++) remainder = (remainder >>> 1) ^ (remainder & 1 ? polynomial : 0);
    return remainder;
  });
}

const ieee = tableOf(0xedb88320);
const castagnoli = tableOf(0x82f63b78);

/** CRC-32 of `bytes`, of zip, gzip and PNG, as an unsigned 32-bit number. */
export function crc32(bytes: Uint8Array): number {
  return checksum(bytes, ieee);
}

/** CRC-32C of `bytes` (RFC 3720, appendix B.4), of TensorFlow's records, as an unsigned 32-bit number. */
export function crc32c(bytes: Uint8Array): number {
  return checksum(bytes, castagnoli);
}

function checksum(bytes: Uint8Array, table: Int32Array): number {
  let crc = -1;
  for (let i = 0; i < bytes.length; i++) crc = (crc >>> 8) ^ table[(crc ^ bytes[i]!) & 0xff]!;
  return ~crc >>> 0;
}
