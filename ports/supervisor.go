package ports

// Supervisor is whoever started the process and watches over it.
type Supervisor interface {
	// Ready says that the process does its work.
	Ready() error
	// Status shows one line about what the process does.
	Status(line string) error
	// Alive says that the process is not stuck. Nothing need be said more often than half the watchdog's time.
	Alive() error
	// Stopping says that the process is about to end.
	Stopping() error
}
