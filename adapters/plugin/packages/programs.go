package packages

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"

	"elemental/adapters/plugin/program"
)

// programs runs the programs of a backend.
type programs struct {
	log io.Writer // takes what they say, line by line: the plugin's log
}

// run runs a program in the plain language, with the agent's proxies, and logs what it says. Errors are those of
// program.Run.
func (p programs) run(ctx context.Context, c program.Command) (program.Result, error) {
	heard := c.Line
	c.Line = func(line string) {
		fmt.Fprintln(p.log, line)
		if heard != nil {
			heard(line)
		}
	}
	return p.ask(ctx, c)
}

// ask runs a program whose output is data and not for the log.
func (p programs) ask(ctx context.Context, c program.Command) (program.Result, error) {
	c.Env = append(append([]string{"LC_ALL=C.UTF-8", "LANGUAGE="}, proxies(os.Environ())...), c.Env...)
	return program.Run(ctx, c)
}

// proxies says again in small letters what the environment says of proxies in capitals, since some tools read only
// those.
func proxies(environment []string) []string {
	var small []string
	for _, entry := range environment {
		name, value, _ := strings.Cut(entry, "=")
		switch name {
		case "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY":
			small = append(small, strings.ToLower(name)+"="+value)
		}
	}
	return small
}
