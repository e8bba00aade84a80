// Stamp is an OS plugin for measurements: what it is asked to do is done at once, and it notes when it was asked.
//
// It writes a line for each call into the file "calls" of its work dir: the verb, the field "n" of what is
// requested, and the nanoseconds since 1970 at which it began to work.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"
)

const doneFile = "done" // the hash of the request that is made true

func main() {
	began := time.Now()
	if err := answer(began); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func answer(began time.Time) error {
	var request struct {
		Verb  string
		Input struct {
			OSVersionManagement *struct{ N int }
			Hash                string
		}
	}
	if err := json.NewDecoder(os.Stdin).Decode(&request); err != nil {
		return err
	}
	n := -1
	if asked := request.Input.OSVersionManagement; asked != nil {
		n = asked.N
	}
	if err := note(fmt.Sprintf("%s %d %d\n", request.Verb, n, began.UnixNano())); err != nil {
		return err
	}
	result := map[string]any{}
	switch request.Verb {
	case "describe":
		result = map[string]any{
			"name": "stamp", "protocols": []string{"elemental.io/plugin/v1"}, "restarts": false,
			"verbs": []string{"describe", "observe", "stage", "unstage", "confirm"}, "schema": map[string]any{"type": "object"},
		}
	case "observe":
		done, err := os.ReadFile(doneFile)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		result["verdict"] = "satisfied"
		if n >= 0 && string(done) != request.Input.Hash {
			result["verdict"] = "outdated"
		}
		result["current"] = map[string]any{"version": string(done)}
	case "stage":
		if err := os.WriteFile(doneFile, []byte(request.Input.Hash), 0o600); err != nil {
			return err
		}
	}
	return json.NewEncoder(os.Stdout).Encode(map[string]any{"result": result})
}

func note(line string) error {
	file, err := os.OpenFile("calls", os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = file.WriteString(line)
	return errors.Join(err, file.Close())
}
