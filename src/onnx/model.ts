/**
 * ONNX models as bytes: the few messages of the ONNX protobuf format that a compiled program needs.
 * Field numbers are those of onnx.proto (IR version 8, operator set 18).
 */
import { BinaryWriter, WireType } from '@bufbuild/protobuf/wire';
import type { DType, Shape, TensorType, TypedArray } from '../graph/type.ts';

/** An attribute that ONNX wants as a float: JavaScript has one kind of number. */
interface FloatAttribute {
  readonly float: number;
}

export const float = (value: number): FloatAttribute => ({ float: value });

/** Attribute values ONNX nodes take here. Plain numbers are integers, bytes a serialized graph. */
export type OnnxAttributes = Readonly<
  Record<string, number | FloatAttribute | string | readonly number[] | Uint8Array>
>;

interface OnnxNode {
  type: string;
  inputs: readonly string[];
  outputs: readonly string[];
  attributes: OnnxAttributes;
  domain: string;
  /** Values that the graph inside it reads, those around it among them. */
  reads?: readonly string[];
}

type InitializerData = TypedArray | BigInt64Array;

interface Initializer {
  name: string;
  elementType: number;
  shape: Shape;
  data: InitializerData;
}

const elementTypes: Readonly<Record<DType, number>> = { float32: 1, int32: 6, bool: 9, float64: 11 };
const int64 = 7;
const bool = 9;
const irVersion = 8;
const operatorSet = 18;

/** Operators of ONNX Runtime itself, beyond the standard. */
export const microsoft = 'com.microsoft';

/** What a program's output is called in the model, where it may not share its name with an input. */
export const outputName = (name: string): string => `output ${name}`;

/**
 * Collects nodes and constants and writes the model. Nodes with the same type, inputs and attributes are
 * made once, so that operators which share a part (such as the patches of a convolution) share its cost.
 */
export class ModelBuilder {
  /** In the order they were made. */
  readonly #nodes: OnnxNode[] = [];
  readonly #makers = new Map<string, OnnxNode>();
  readonly #initializers: Initializer[] = [];
  /** The same by type and shape. */
  readonly #initializersOf = new Map<string, Initializer[]>();
  readonly #known = new Map<string, string>();
  readonly #inputs: ValueInfo[] = [];
  readonly #renamed = new Map<string, string>();
  readonly #outputs: ValueInfo[] = [];
  readonly #domains = new Set(['']);
  readonly #prefix: string;
  #names = 0;

  /** @param prefix tells the values of a graph inside another from those around it */
  constructor(prefix = '%') {
    this.#prefix = prefix;
  }

  /** Declares a model input. */
  input(name: string, { dtype, shape }: TensorType): string {
    this.#inputs.push({ name, elementType: elementTypes[dtype], shape });
    return name;
  }

  /**
   * Declares that `value` is the model output `outputName(name)`. The node that makes it is renamed; only
   * an input, a constant or a value that is an output already has to be copied. Returns the output's name.
   */
  output(name: string, { dtype, shape }: TensorType, value: string): string {
    const output = outputName(name);
    if (this.#makers.has(value) && !this.#renamed.has(value)) this.#renamed.set(value, output);
    else this.#add({ type: 'Identity', inputs: [value], outputs: [output], attributes: {}, domain: '' });
    this.#outputs.push({ name: output, elementType: elementTypes[dtype], shape });
    return output;
  }

  /** The output of an operator, new or already there. */
  op(type: string, inputs: readonly string[], attributes: OnnxAttributes = {}, domain = ''): string {
    const key = JSON.stringify([domain, type, inputs, attributes]);
    return this.#once(key, (output) => this.#add({ type, inputs, outputs: [output], attributes, domain }));
  }

  /**
   * The last values of a loop that goes round `rounds` (int64 []) times: `carried` go in and come out of every
   * round. The body's graph is finished by this.
   */
  loop(rounds: string, carried: readonly string[], body: ModelBuilder): string[] {
    for (const domain of body.#domains) this.#domains.add(domain);
    const outputs = carried.map(() => this.#newName());
    const goOn = { elementType: bool, shape: [] };
    body.#inputs.unshift({ name: body.round, elementType: int64, shape: [] }, { name: 'go on', ...goOn });
    const still = outputName('go on');
    body.#add({ type: 'Identity', inputs: ['go on'], outputs: [still], attributes: {}, domain: '' });
    body.#outputs.unshift({ name: still, ...goOn });
    const attributes = { body: body.#graph() };
    const reads = [...body.#usedValues()];
    this.#add({ type: 'Loop', inputs: [rounds, '', ...carried], outputs, attributes, domain: '', reads });
    return outputs;
  }

  /** In the body of a loop: how many rounds are done, int64 []. */
  readonly round = 'round';

  /** The inputs of the operator that made a value, if it is of this type; none otherwise. */
  inputsOf(type: string, value: string): readonly string[] {
    const maker = this.#makers.get(value);
    return maker?.type === type ? maker.inputs : [];
  }

  /** A constant tensor. */
  constant(type: TensorType, data: TypedArray): string {
    return this.#initializer(elementTypes[type.dtype], type.shape, data);
  }

  /** A constant vector of int64, as shapes and axes are given. */
  integers(values: readonly number[]): string {
    return this.#initializer(int64, [values.length], BigInt64Array.from(values, BigInt));
  }

  /** The ONNX number of a dtype, for Cast. */
  elementType(dtype: DType): number {
    return elementTypes[dtype];
  }

  /** The model, serialized. */
  finish(): Uint8Array {
    const model = new BinaryWriter();
    model.tag(1, WireType.Varint).int64(irVersion);
    model.tag(2, WireType.LengthDelimited).string('anole');
    model.tag(7, WireType.LengthDelimited).bytes(this.#graph());
    for (const domain of this.#domains) {
      const version = domain === '' ? operatorSet : 1;
      writeMessage(model, 8, (writer) => {
        writer.tag(1, WireType.LengthDelimited).string(domain);
        writer.tag(2, WireType.Varint).int64(version);
      });
    }
    return model.finish();
  }

  #graph(): Uint8Array {
    const graph = new BinaryWriter();
    const rename = (name: string) => this.#renamed.get(name) ?? name;
    const used = this.#usedValues();
    for (const node of this.#nodes) {
      if (!node.outputs.some((output) => used.has(output))) continue;
      const named = { ...node, inputs: node.inputs.map(rename), outputs: node.outputs.map(rename) };
      writeMessage(graph, 1, (writer) => writeNode(writer, named));
    }
    graph.tag(2, WireType.LengthDelimited).string('anole');
    for (const initializer of this.#initializers) {
      if (used.has(initializer.name))
        writeMessage(graph, 5, (writer) => writeInitializer(writer, initializer));
    }
    for (const info of this.#inputs) writeMessage(graph, 11, (writer) => writeType(writer, info));
    for (const info of this.#outputs) writeMessage(graph, 12, (writer) => writeType(writer, info));
    return graph.finish();
  }

  #add(node: OnnxNode): void {
    this.#nodes.push(node);
    this.#domains.add(node.domain);
    for (const output of node.outputs) this.#makers.set(output, node);
  }

  /** Everything the outputs depend on: lowerings leave behind what they found another way to. */
  #usedValues(): Set<string> {
    const isOutput = new Set(this.#outputs.map(({ name }) => name));
    const used = new Set<string>();
    for (const node of this.#nodes.toReversed()) {
      const needed = node.outputs.filter(
        (output) => used.has(output) || isOutput.has(this.#renamed.get(output) ?? output),
      );
      if (needed.length === 0) continue;
      for (const output of needed) used.add(output);
      for (const name of [...node.inputs, ...(node.reads ?? [])]) used.add(name);
    }
    return used;
  }

  /** Names of values inside the model: no program is likely to call an input so. */
  #newName(): string {
    return `${this.#prefix}${this.#names++}`;
  }

  #once(key: string, make: (name: string) => void): string {
    const known = this.#known.get(key);
    if (known !== undefined) return known;
    const name = this.#newName();
    this.#known.set(key, name);
    make(name);
    return name;
  }

  /** A constant, new or already there. */
  #initializer(elementType: number, shape: Shape, data: InitializerData): string {
    const key = `${elementType} [${shape.join()}]`;
    const alike = this.#initializersOf.get(key) ?? [];
    this.#initializersOf.set(key, alike);
    const known = alike.find((other) => sameBytes(other.data, data));
    if (known !== undefined) return known.name;
    const initializer = { name: this.#newName(), elementType, shape, data };
    this.#initializers.push(initializer);
    alike.push(initializer);
    return initializer.name;
  }
}

/** Tells −0 from 0, and equal NaNs from others. */
function sameBytes(a: InitializerData, b: InitializerData): boolean {
  const [x, y] = [a, b].map((data) => new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
  return x!.length === y!.length && x!.every((byte, i) => byte === y![i]);
}

/** What a graph tells of a value that goes in or comes out. */
interface ValueInfo {
  readonly name: string;
  readonly elementType: number;
  readonly shape: Shape;
}

function writeMessage(writer: BinaryWriter, field: number, write: (writer: BinaryWriter) => void): void {
  writer.tag(field, WireType.LengthDelimited).fork();
  write(writer);
  writer.join();
}

function writeNode(writer: BinaryWriter, { type, inputs, outputs, attributes, domain }: OnnxNode): void {
  for (const name of inputs) writer.tag(1, WireType.LengthDelimited).string(name);
  for (const name of outputs) writer.tag(2, WireType.LengthDelimited).string(name);
  writer.tag(4, WireType.LengthDelimited).string(type);
  for (const [name, value] of Object.entries(attributes)) {
    writeMessage(writer, 5, () => writeAttribute(writer, name, value));
  }
  if (domain !== '') writer.tag(7, WireType.LengthDelimited).string(domain);
}

function writeAttribute(writer: BinaryWriter, name: string, value: OnnxAttributes[string]): void {
  writer.tag(1, WireType.LengthDelimited).string(name);
  if (typeof value === 'number') {
    writer.tag(3, WireType.Varint).int64(value);
    writer.tag(20, WireType.Varint).int32(2); // INT
  } else if (typeof value === 'string') {
    writer.tag(4, WireType.LengthDelimited).string(value);
    writer.tag(20, WireType.Varint).int32(3); // STRING
  } else if (value instanceof Uint8Array) {
    writer.tag(6, WireType.LengthDelimited).bytes(value);
    writer.tag(20, WireType.Varint).int32(5); // GRAPH
  } else if ('float' in value) {
    writer.tag(2, WireType.Bit32).float(value.float);
    writer.tag(20, WireType.Varint).int32(1); // FLOAT
  } else {
    for (const item of value) writer.tag(8, WireType.Varint).int64(item);
    writer.tag(20, WireType.Varint).int32(7); // INTS
  }
}

function writeInitializer(writer: BinaryWriter, { name, elementType, shape, data }: Initializer): void {
  for (const length of shape) writer.tag(1, WireType.Varint).int64(length);
  writer.tag(2, WireType.Varint).int32(elementType);
  writer.tag(8, WireType.LengthDelimited).string(name);
  // raw_data is little-endian, as are the typed arrays of every platform that runs this.
  writer
    .tag(9, WireType.LengthDelimited)
    .bytes(new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
}

function writeType(writer: BinaryWriter, { name, elementType, shape }: ValueInfo): void {
  writer.tag(1, WireType.LengthDelimited).string(name);
  writeMessage(writer, 2, () => {
    writeMessage(writer, 1, () => {
      writer.tag(1, WireType.Varint).int32(elementType);
      writeMessage(writer, 2, () => {
        for (const length of shape) {
          writeMessage(writer, 1, () => writer.tag(1, WireType.Varint).int64(length));
        }
      });
    });
  });
}
