package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/matryer/is"
)

// TestBetweenHeartbeats counts in an audit log as the API server writes it: whole periods alone, each request once, and
// nobody else's.
func TestBetweenHeartbeats(t *testing.T) {
	is := is.New(t)
	began := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	var lines []string
	log := func(minute int, user, verb, resource, subresource string) {
		lines = append(lines, fmt.Sprintf(`{"auditID":"%d","verb":%q,"user":{"username":%q},"objectRef":{"resource":%q,"subresource":%q},"requestReceivedTimestamp":%q}`,
			len(lines), verb, user, resource, subresource, began.Add(time.Duration(minute)*time.Minute).Format(time.RFC3339Nano)))
	}
	log(0, "host", "patch", "leases", "")                // before it had settled
	log(1, "host", "create", "serviceaccounts", "token") // so was this
	log(3, "host", "watch", "elementalhosts", "")        // before the first heartbeat
	log(5, "host", "patch", "leases", "")                // the first heartbeat
	log(6, "other", "patch", "leases", "")               // of another
	log(8, "host", "watch", "elementalhosts", "")        // counts
	lines = append(lines, lines[len(lines)-1])           // a watch is logged twice
	log(10, "host", "patch", "leases", "")               // counts
	log(12, "host", "patch", "elementalhosts", "status") // counts
	log(15, "host", "patch", "leases", "")               // counts, and is the last
	log(16, "host", "watch", "elementalhosts", "")       // after it
	b := &bench{audit: filepath.Join(t.TempDir(), "audit.log"), joined: &joiner{user: "host"}}
	is.NoErr(os.WriteFile(b.audit, []byte(strings.Join(lines, "\n")+"\n"), 0o600))
	kinds, took, beats, err := b.betweenHeartbeats(t.Context(), began.Add(2*time.Minute))
	is.NoErr(err)
	is.Equal(kinds, map[string]int{"watch elementalhosts": 1, "patch leases": 2, "patch elementalhosts/status": 1})
	is.Equal(took, 10*time.Minute)
	is.Equal(beats, 3)

	_, _, _, err = b.betweenHeartbeats(t.Context(), began.Add(-time.Minute))
	is.True(err != nil && strings.Contains(err.Error(), "should have been idle")) // A renewal is counted for itself.
}
