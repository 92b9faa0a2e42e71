#!/usr/bin/env node
/** The command line: verbs, and how they end. */
import process from 'node:process';
import { type Argument, Command, CommanderError } from 'commander';
import { OptionError } from '../errors.ts';
import { adaptCommand, predictCommand } from './adapt.ts';
import { dataCommand } from './data.ts';
import { demoCommand } from './demo.ts';
import { evalCommand } from './eval.ts';
import { exportCommand } from './export.ts';
import { Interrupted } from './interrupt.ts';
import { version } from './machine.ts';
import { inFlags } from './options.ts';
import { reproduceCommand } from './reproduce.ts';
import { trainCommand } from './train.ts';

const program = new Command('anole')
  .description('First-order meta-learning: learn an initialization that adapts from a few examples.')
  .version(version, '--version', 'print the version')
  .addHelpText(
    'after',
    [
      '',
      'Start with:',
      '  anole demo              sine waves and drawn characters, in about a minute, no data needed',
      '  anole train sine        the paper’s Figure 1',
      '  anole train --help      every setting with its default',
      '  anole reproduce --help  every table and figure of the paper',
    ].join('\n'),
  );
const commands = [
  trainCommand(),
  evalCommand(),
  adaptCommand(),
  predictCommand(),
  exportCommand(),
  reproduceCommand(),
  dataCommand(),
  demoCommand(),
];
for (const command of commands) {
  program.addCommand(command);
}
for (const command of withSubcommands(program)) {
  command
    .helpOption('-h, --help', 'show this help')
    .helpCommand(false)
    .configureHelp({
      subcommandTerm: (verb) => [verb.name(), ...verb.registeredArguments.map(termOf)].join(' '),
      styleTitle: (title) => `\x1b[1m${title}\x1b[22m`, // commander takes it out where there are no colors
    })
    .configureOutput({
      outputError: () => {}, // printed below, with all other errors
      getOutHelpWidth: () => Math.min(100, process.stdout.columns ?? 100),
      getErrHelpWidth: () => Math.min(100, process.stderr.columns ?? 100),
    })
    .exitOverride();
}

// A reader that went away, as of `anole train … | head -1`, is no reason to lose the run.
process.stdout.on('error', () => {});

try {
  await program.parseAsync();
} catch (error) {
  await end(error);
}

async function end(error: unknown): Promise<void> {
  if (error instanceof CommanderError && error.exitCode === 0) return; // --help, --version
  if (process.env.ANOLE_DEBUG) console.error(error);
  if (error instanceof Interrupted) {
    console.error(error.message);
    await error.exit();
  }
  const isUsage = error instanceof CommanderError || error instanceof OptionError;
  const isHelp = error instanceof CommanderError && error.code === 'commander.help'; // shown instead of a verb
  if (!isHelp) console.error(`error: ${messageOf(error)}`);
  process.exitCode = isUsage ? 2 : 1;
}

/** One line that says what to do. */
function messageOf(error: unknown): string {
  const message = error instanceof Error ? error.message : String(error);
  if (error instanceof OptionError) return inFlags(message).replaceAll('\n', ' ');
  if (!(error instanceof CommanderError)) return message.replaceAll('\n', ' ');
  const [fault, suggestion] = message.replace(/^error: /, '').split('\n');
  const words = /Did you mean (?:one of )?(.*)\?/.exec(suggestion ?? '')?.[1];
  return `${fault}; ${words === undefined ? 'see --help' : `did you mean ${words}?`}`;
}

function withSubcommands(command: Command): Command[] {
  return [command, ...command.commands.flatMap(withSubcommands)];
}

function termOf(argument: Argument): string {
  return argument.required ? `<${argument.name()}>` : `[${argument.name()}]`;
}
