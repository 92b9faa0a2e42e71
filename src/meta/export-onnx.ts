/**
 * A model with its weights as an ONNX file that plain onnxruntime runs, in any language: standard
 * operators, and those of the domain com.microsoft that every onnxruntime has.
 *
 *     x            float32 [N, …]   any number of inputs
 *     support      float32 [S, …]   for classifiers: the examples the model was adapted to
 *     probabilities float32 [N, ways], or `values` float32 [N, outputs] of a regression
 *
 * Batch norm has no running averages here: every query is normalized together with the support set, on its
 * own (the paper's protocol without transduction, as `tracePredictor` in `adapt.ts`), so a classifier needs
 * the support set at every call, or carries it inside. The program of a single query is compiled as always,
 * for fixed shapes, and stands as the body of a Scan over the queries: so N is free.
 */
import { BinaryReader, BinaryWriter, WireType } from '@bufbuild/protobuf/wire';
import { OptionError } from '../errors.ts';
import { exp } from '../graph/elementwise.ts';
import { concat, reshape, take } from '../graph/shaping.ts';
import { simplify } from '../graph/simplify.ts';
import { constant, type Tensor } from '../graph/tensor.ts';
import { trace } from '../graph/trace.ts';
import { float32, size } from '../graph/type.ts';
import { logSoftmax } from '../nn/losses.ts';
import type { Model } from '../nn/model.ts';
import { lower } from '../onnx/lower.ts';

export interface OnnxExportOptions {
  readonly model: Model;
  /** float32 [P]: as they were meta-trained, or adapted to a task. */
  readonly parameters: Float32Array;
  /** What the outputs are: `classes` gives `probabilities`, `values` gives `values`. */
  readonly targets: 'classes' | 'values';
  /**
   * S, how many support examples are given at every call as the input `support`; or the examples themselves,
   * float32 [S, …], to carry them in the file, which then has no such input. @default none: each query alone
   */
  readonly support?: number | Float32Array;
  /** Text kept in the file's `metadata_props`, such as the names of the classes. @default none */
  readonly metadata?: Readonly<Record<string, string>>;
}

/**
 * The bytes of the ONNX file. Equal arguments give equal bytes.
 * @throws {OptionError} when parameters or support do not fit the model, or classes have no support
 */
export function exportOnnx(options: OnnxExportOptions): Uint8Array {
  const { model, targets, metadata = {} } = options;
  const support = supportCount(options);
  const output = targets === 'classes' ? 'probabilities' : 'values';
  const body = queryProgram(options, support, output);
  const carried = typeof options.support !== 'number' || support === 0;
  return writeModel({
    inputs: {
      x: ['N', ...model.inputShape],
      ...(carried ? {} : { support: [support, ...model.inputShape] }),
    },
    output: { name: output, shape: ['N', outputsOf(options)] },
    body,
    metadata,
  });
}

/** S, checked. */
function supportCount({ model, parameters, targets, support = 0 }: OnnxExportOptions): number {
  if (parameters.length !== model.layout.size) {
    throw new OptionError(
      `parameters: expected the ${model.layout.size} of the model, got ${parameters.length}: give those it has`,
    );
  }
  const count = typeof support === 'number' ? support : support.length / size(model.inputShape);
  if (!Number.isSafeInteger(count) || count < 0) {
    throw new OptionError(`support: expected whole examples [${model.inputShape}], got ${count} of them`);
  }
  if (targets === 'classes' && count === 0) {
    throw new OptionError(
      'support: a classifier normalizes each query with its support set: give the examples, or their number',
    );
  }
  return count;
}

/** One query […] and the support set [S, …] → its probabilities or values, as the bytes of a model. */
function queryProgram(
  { model, parameters, targets, support: given }: OnnxExportOptions,
  support: number,
  output: string,
): Uint8Array {
  const supportType = float32(support, ...model.inputShape);
  const asInput = typeof given === 'number' && support > 0;
  const types = { query: float32(...model.inputShape), ...(asInput ? { support: supportType } : {}) };
  const graph = trace<string, string>(types, (inputs) => {
    const single = reshape(inputs.query!, [1, ...model.inputShape]);
    const weights = constant(float32(parameters.length), plain(parameters));
    let batch = single;
    if (asInput)
      batch = concat([inputs.support!, single], 0); // [S + 1, …]
    else if (support > 0) batch = concat([constant(supportType, plain(given as Float32Array)), single], 0);
    const outputs = take(model.apply(weights, batch), support, 0); // [outputs]
    return { [output]: targets === 'classes' ? exp(logSoftmax(outputs)) : outputs };
  });
  return lower(simplify(graph), { provider: 'cpu' }).model;
}

/** A copy that no thread shares. */
function plain(vector: Float32Array): Float32Array {
  return Float32Array.from(vector);
}

function outputsOf({ model }: OnnxExportOptions): number {
  const types = { parameters: float32(model.layout.size), x: float32(1, ...model.inputShape) };
  const { y } = trace(types, ({ parameters, x }): { y: Tensor } => ({
    y: model.apply(parameters, x),
  })).outputs;
  return y.shape.at(-1)!;
}

/** A size, or the name of one that is free. */
type FreeShape = readonly (number | string)[];

interface ScanModel {
  /** The first is scanned; the others the body sees as they are, under the same names. */
  readonly inputs: Readonly<Record<string, FreeShape>>;
  readonly output: { readonly name: string; readonly shape: FreeShape };
  /** A model of one `query`. */
  readonly body: Uint8Array;
  readonly metadata: Readonly<Record<string, string>>;
}

/** Field numbers of onnx.proto's messages. */
const fields = {
  model: { graph: 7, operatorSets: 8, metadata: 14 },
  graph: { nodes: 1, name: 2, inputs: 11, outputs: 12 },
  node: { inputs: 1, outputs: 2, type: 4, attributes: 5 },
  attribute: { name: 1, integer: 3, graph: 6, type: 20 },
} as const;
const attributeTypes = { integer: 2, graph: 5 } as const;

/** The model of the body with its graph replaced by one that scans it over `x`. */
function writeModel({ inputs, output, body, metadata }: ScanModel): Uint8Array {
  const [scanned] = Object.keys(inputs);
  const graph = new BinaryWriter();
  message(graph, fields.graph.nodes, () => {
    graph.tag(fields.node.inputs, WireType.LengthDelimited).string(scanned!);
    graph.tag(fields.node.outputs, WireType.LengthDelimited).string(output.name);
    graph.tag(fields.node.type, WireType.LengthDelimited).string('Scan');
    message(graph, fields.node.attributes, () => {
      graph.tag(fields.attribute.name, WireType.LengthDelimited).string('body');
      graph.tag(fields.attribute.graph, WireType.LengthDelimited).bytes(bodyGraph(body));
      graph.tag(fields.attribute.type, WireType.Varint).int32(attributeTypes.graph);
    });
    message(graph, fields.node.attributes, () => {
      graph.tag(fields.attribute.name, WireType.LengthDelimited).string('num_scan_inputs');
      graph.tag(fields.attribute.integer, WireType.Varint).int64(1);
      graph.tag(fields.attribute.type, WireType.Varint).int32(attributeTypes.integer);
    });
  });
  graph.tag(fields.graph.name, WireType.LengthDelimited).string('anole');
  for (const [name, shape] of Object.entries(inputs)) {
    message(graph, fields.graph.inputs, () => writeValue(graph, name, shape));
  }
  message(graph, fields.graph.outputs, () => writeValue(graph, output.name, output.shape));

  const model = new BinaryWriter();
  for (const { field, bytes } of fieldsOf(body)) {
    if (field !== fields.model.graph) model.raw(bytes);
  }
  model.tag(fields.model.graph, WireType.LengthDelimited).bytes(graph.finish());
  for (const [key, value] of Object.entries(metadata)) {
    message(model, fields.model.metadata, () => {
      model.tag(1, WireType.LengthDelimited).string(key);
      model.tag(2, WireType.LengthDelimited).string(value);
    });
  }
  return model.finish();
}

/** The graph in a model's bytes, where only `query` is an input: all else it finds around it. */
function bodyGraph(model: Uint8Array): Uint8Array {
  const graph = fieldsOf(model).find(({ field }) => field === fields.model.graph)!.content!;
  const body = new BinaryWriter();
  for (const { field, bytes, content } of fieldsOf(graph)) {
    const isOther = field === fields.graph.inputs && new TextDecoder().decode(nameOf(content!)) !== 'query';
    if (!isOther) body.raw(bytes);
  }
  return body.finish();
}

/** The name, field 1, of a ValueInfoProto. */
function nameOf(value: Uint8Array): Uint8Array {
  return fieldsOf(value).find(({ field }) => field === 1)!.content!;
}

interface Field {
  readonly field: number;
  /** The whole of it, tag included. */
  readonly bytes: Uint8Array;
  /** What a field of delimited length holds. */
  readonly content?: Uint8Array;
}

function fieldsOf(message: Uint8Array): Field[] {
  const reader = new BinaryReader(message);
  const found: Field[] = [];
  while (reader.pos < reader.len) {
    const start = reader.pos;
    const [field, type] = reader.tag();
    const content = type === WireType.LengthDelimited ? reader.bytes() : undefined;
    if (content === undefined) reader.skip(type, field);
    const bytes = message.subarray(start, reader.pos);
    found.push(content === undefined ? { field, bytes } : { field, bytes, content });
  }
  return found;
}

function message(writer: BinaryWriter, field: number, write: () => void): void {
  writer.tag(field, WireType.LengthDelimited).fork();
  write();
  writer.join();
}

/** ValueInfoProto of a float32 tensor. */
function writeValue(writer: BinaryWriter, name: string, shape: FreeShape): void {
  writer.tag(1, WireType.LengthDelimited).string(name);
  message(writer, 2, () => {
    message(writer, 1, () => {
      writer.tag(1, WireType.Varint).int32(1); // FLOAT
      message(writer, 2, () => {
        for (const length of shape) {
          message(writer, 1, () => {
            if (typeof length === 'number') writer.tag(1, WireType.Varint).int64(length);
            else writer.tag(2, WireType.LengthDelimited).string(length);
          });
        }
      });
    });
  });
}
