package plugin

import (
	"time"

	"elemental/core"
)

// Deadline is how long one verb may take. A plugin that is over it is ended with all its children.
type Deadline struct {
	Whole  time.Duration // from start to exit
	Silent time.Duration // without a line on either output; 0: it may be silent all the time
}

// Deadlines say how long each verb may take.
func Deadlines() map[core.Verb]Deadline {
	const long, silent = 2 * time.Hour, 30 * time.Minute
	//nolint:exhaustive // core.VerbRestart is no plugin's.
	return map[core.Verb]Deadline{
		core.VerbDescribe:           {Whole: 30 * time.Second},
		core.VerbObserve:            {Whole: 30 * time.Second},
		core.VerbStage:              {Whole: long, Silent: silent},
		core.VerbUnstage:            {Whole: 10 * time.Minute},
		core.VerbConfirm:            {Whole: 10 * time.Minute},
		core.VerbRollback:           {Whole: 10 * time.Minute},
		core.VerbInstall:            {Whole: long, Silent: silent},
		core.VerbBootstrap:          {Whole: 10 * time.Minute},
		core.VerbTriggerReset:       {Whole: 10 * time.Minute},
		core.VerbReset:              {Whole: long, Silent: silent},
		core.VerbSetHostname:        {Whole: time.Minute},
		core.VerbInstallCloudConfig: {Whole: time.Minute},
	}
}

const (
	// Patience is the time between asking a plugin to end and killing it, and between its answer and its exit.
	Patience = 5 * time.Second

	leftover = time.Second // for reading what an ended plugin left in its pipes
)
