package deploy

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	"elemental/core"
)

// Record is what a deployment says of itself: deployment.json.
type Record struct {
	ID           string        `json:"id"`
	Digest       string        `json:"digest"`          // of the manifest
	Index        string        `json:"index,omitempty"` // digest of the index that led to it
	References   []Named       `json:"references"`      // what it was asked for as, the latest last
	Requested    string        `json:"requested"`       // hash of the request that last staged it
	Host         string        `json:"host,omitempty"`  // on whose behalf
	Created      time.Time     `json:"created"`
	Version      string        `json:"version,omitempty"`      // as the system calls itself
	ImageVersion string        `json:"imageVersion,omitempty"` // as the image's label has it
	Layers       []string      `json:"layers"`                 // the digests of their tars, the lowest first
	Kernel       string        `json:"kernel,omitempty"`       // from the top of the boot partition
	Initrd       string        `json:"initrd,omitempty"`
	HealthChecks []HealthCheck `json:"healthChecks,omitempty"`

	UpgradeRecovery bool `json:"upgradeRecovery,omitempty"` // once confirmed, it is the recovery system as well
	Recovery        bool `json:"recovery,omitempty"`        // it is; of several, the one created last
}

// Named is one reference that led to a deployment.
type Named struct {
	Reference  string    `json:"reference"`
	ResolvedAt time.Time `json:"resolvedAt"`
}

// version is the record as the rest of Elemental speaks of it.
func (r Record) version() core.Version {
	v := core.Version{Digest: r.Digest, Version: r.Version}
	if len(r.References) > 0 {
		v.Reference = r.References[len(r.References)-1].Reference
	}
	return v
}

// resolvedAt says when a reference last led here.
func (r Record) resolvedAt(reference string) (time.Time, bool) {
	i := slices.IndexFunc(r.References, func(n Named) bool { return n.Reference == reference })
	if i < 0 {
		return time.Time{}, false
	}
	return r.References[i].ResolvedAt, true
}

// maxReferences bounds how many references a record keeps.
const maxReferences = 16

// name notes that a reference led here.
func (r *Record) name(reference string, now time.Time) {
	r.References = slices.DeleteFunc(r.References, func(n Named) bool { return n.Reference == reference })
	r.References = append(r.References, Named{reference, now.UTC()})
	r.References = r.References[max(0, len(r.References)-maxReferences):]
}

var (
	digestForm     = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)
	deploymentForm = regexp.MustCompile(`^[0-9a-f]{32}$`)
)

// deploymentID derives the ID of a deployment from the digest of its image's manifest.
func deploymentID(digest string) string { return digest[len("sha256:"):][:32] }

// deployment is a path in a deployment's folder.
func (e *Engine) deployment(id string, elements ...string) string {
	return e.path(append([]string{"deployments", id}, elements...)...)
}

// recordOf is where the record of a layer lies.
func (e *Engine) recordOf(diffID string) string {
	return e.path("layers", strings.TrimPrefix(diffID, "sha256:")+".json.zst")
}

// record reads the record of a deployment.
func (e *Engine) record(id string) (Record, error) {
	var r Record
	content, err := os.ReadFile(e.deployment(id, "deployment.json"))
	if err != nil {
		return r, fmt.Errorf("reading deployment %s: %w", id, err)
	}
	if err := json.Unmarshal(content, &r); err != nil {
		return r, fmt.Errorf("reading deployment %s: %w", id, err)
	}
	if r.ID != id || !digestForm.MatchString(r.Digest) {
		return r, fmt.Errorf("reading deployment %s: its record is of %s (%s)", id, r.ID, r.Digest)
	}
	return r, nil
}

// records reads the records of all deployments. One that can't be read is left out, and logged.
func (e *Engine) records() (map[string]Record, error) {
	entries, err := os.ReadDir(e.path("deployments"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("listing the deployments: %w", err)
	}
	all := map[string]Record{}
	for _, entry := range entries {
		if !deploymentForm.MatchString(entry.Name()) {
			continue
		}
		r, err := e.record(entry.Name())
		if err != nil {
			e.Log.Warn("a deployment is damaged; staging its image again repairs it", "deployment", entry.Name(), "error", err)
			continue
		}
		all[r.ID] = r
	}
	return all, nil
}

// recovery is the system that is kept for the day when no other boots; empty when there is none.
func recovery(records map[string]Record) string {
	found := ""
	for id, r := range records {
		if r.Recovery && (found == "" || r.Created.After(records[found].Created)) {
			found = id
		}
	}
	return found
}

// setRecovery makes a deployment the recovery system in place of another. The new one is marked first: in between
// there are two, and never none.
func (e *Engine) setRecovery(now state, id string) error {
	chosen := now.records[id]
	chosen.Recovery = true
	if err := e.writeRecord(chosen); err != nil {
		return err
	}
	for other, r := range now.records {
		if !r.Recovery || other == id {
			continue
		}
		r.Recovery = false
		if err := e.writeRecord(r); err != nil {
			return err
		}
	}
	return nil
}

func (e *Engine) writeRecord(r Record) error {
	content, err := marshalRecord(r)
	if err != nil {
		return err
	}
	return writeFile(e.deployment(r.ID, "deployment.json"), content, 0o644)
}

// marshalRecord writes a record for people to read.
func marshalRecord(r Record) ([]byte, error) {
	content, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("writing deployment %s: %w", r.ID, err)
	}
	return append(content, '\n'), nil
}

// failureFile keeps, in a trial's folder, why it was not confirmed.
const failureFile = "failure"

// failureOf is why a deployment fell, as far as is known.
func (e *Engine) failureOf(entry string, tried int) string {
	content, err := os.ReadFile(e.deployment(entry, failureFile))
	if err == nil && len(content) > 0 {
		return strings.TrimSpace(string(content))
	}
	return fmt.Sprintf("it did not come up healthy in %d boots, and left no reason", tried)
}
