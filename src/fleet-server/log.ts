/** One line of what the server has to say; who runs it decides where it goes. */
export type LogLevel = 'debug' | 'info' | 'warn' | 'error';

export type Log = (level: LogLevel, message: string) => void;

export const silent: Log = () => undefined;
