/** A folder of class folders as labelled images: the support set of one task. Node only. */
import { DataError } from '../errors.ts';
import { archiveAt } from './archive.ts';
import { classFolders } from './class-folders.ts';
import { decodeClasses, maxImageFileBytes } from './decode-images.ts';
import { withoutTwins } from './image-folder.ts';

/** An image and the class it is an example of. */
export interface LabelledPixels {
  /** float32 [height, width, channels], from 0 to 1. */
  readonly input: Float32Array;
  /** Name of its folder. */
  readonly label: string;
}

/**
 * The images in the folders inside a folder or zip, sorted by class and name, stretched to `imageShape`.
 * @throws {DataError} when it can not be read, has no class folders, one is empty, a file is no whole image, or
 *   the same image is in two classes
 */
export async function labelledFolder(
  path: string,
  imageShape: readonly [number, number, number],
): Promise<LabelledPixels[]> {
  const remedy = 'give a folder of class folders';
  const images = await archiveAt(path, { remedy, maxFileBytes: maxImageFileBytes }).open((contents) => {
    const { all } = classFolders(contents, path);
    if (all === undefined) {
      throw new DataError(`${path}: has folders train, val or test: give one of them`);
    }
    return decodeClasses(withoutTwins(all, path), {
      imageShape,
      label: path,
      remedy: 'replace or remove these files',
    });
  });
  const pixels = imageShape.reduce((a, b) => a * b);
  return Array.from({ length: images.classCount }, (_, index) =>
    Array.from({ length: images.imageCount(index) }, (_, i): LabelledPixels => {
      const input = new Float32Array(pixels);
      images.read(index, i, input, 0);
      return { input, label: images.className(index) };
    }),
  ).flat();
}
