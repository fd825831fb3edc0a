// How a run or a phase stands, and the words for it.
export type Status = "waiting" | "running" | "completed" | "stopped" | "interrupted" | "failed";

export const STATUS_WORDS: Record<Status, string> = {
  waiting: "Waiting",
  running: "Running",
  completed: "Done",
  stopped: "Stopped",
  interrupted: "Interrupted",
  failed: "Failed",
};
