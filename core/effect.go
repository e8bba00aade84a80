package core

// Effect is one thing for the world to do. The set is closed. An effect's result is never looked at by a
// rule: what it changed is seen by the next observation.
//
//sumtype:decl
type Effect interface{ effect() }

type (
	// Register makes this host known to the management cluster.
	Register struct{}
	// Report writes the host's status. Where it is required, nothing after it happens until it is written.
	Report struct{ Required bool }
	// Remember writes the agent's memory down before anything else is done.
	Remember struct{ Journal Journal }
	// Call asks the plugin to carry out a verb.
	Call struct{ Verb Verb }
	// Restart ends this boot, for a reason that people logged in may read.
	Restart struct{ Why string }
	// PowerOff ends this boot, and no other follows until someone turns the host on.
	PowerOff struct{ Why string }
)

func (Register) effect() {}
func (Report) effect()   {}
func (Remember) effect() {}
func (Call) effect()     {}
func (Restart) effect()  {}
func (PowerOff) effect() {}
