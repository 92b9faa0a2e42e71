/**
 * The checksum of zip, gzip and PNG: CRC-32 with the reversed polynomial 0xEDB88320. Four bytes a step:
 * `tables[k]` holds what a byte becomes when k more zero bytes follow it.
 */

const tables: readonly Int32Array[] = [0, 1, 2, 3].map((zeros) =>
  Int32Array.from({ length: 256 }, (_, byte) => {
    let remainder = byte;
    for (let bit = 0; bit < 8 * (zeros + 1); bit++) {
      remainder = (remainder >>> 1) ^ (remainder & 1 ? 0xedb88320 : 0);
    }
    return remainder;
  }),
);

/**
 * CRC-32 of `bytes`, as an unsigned 32-bit number.
 * @param before checksum of the bytes that come before these. @default 0, there are none
 */
export function crc32(bytes: Uint8Array, before = 0): number {
  const [one, two, three, four] = tables as [Int32Array, Int32Array, Int32Array, Int32Array];
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
