/** A folder of class folders as labelled image files: the support set of one task. Node only. */
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { DataError } from '../errors.ts';
import { fileFault } from './folders.ts';

/** An image file and the class it is an example of. */
export interface LabelledFile {
  /** Path of the file. */
  readonly input: string;
  /** Name of its folder. */
  readonly label: string;
}

const isHidden = /^\.|^(__MACOSX|Thumbs\.db|desktop\.ini)$/i;
const isImage = /\.png$/i;

/**
 * The images in the folders inside `folder`, sorted by class and name. Hidden files are passed over.
 * @throws {DataError} when it can not be read, has no class folders, or one has a file that is no image, or none
 */
export async function labelledFolder(folder: string): Promise<LabelledFile[]> {
  const list = async (path: string) => {
    const entries = await readdir(path, { withFileTypes: true }).catch((cause) => {
      throw new DataError(`${path}: can not be read (${fileFault(cause)}): give a folder of class folders`, {
        cause,
      });
    });
    return entries
      .filter(({ name }) => !isHidden.test(name))
      .sort((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0));
  };
  const classes = (await list(folder)).filter((entry) => entry.isDirectory());
  if (classes.length === 0) {
    throw new DataError(`${folder}: no class folders in it: give each class a folder of its images`);
  }
  const found: LabelledFile[] = [];
  for (const { name: label } of classes) {
    const files = await list(join(folder, label));
    const other = files.find(({ name }) => !isImage.test(name));
    if (other !== undefined) {
      throw new DataError(
        `${join(folder, label, other.name)}: expected PNG files only: convert or remove it`,
      );
    }
    if (files.length === 0) {
      throw new DataError(`${join(folder, label)}: no images in it: add one, or remove the folder`);
    }
    found.push(...files.map(({ name }) => ({ input: join(folder, label, name), label })));
  }
  return found;
}
