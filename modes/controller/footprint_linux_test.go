package controller

import (
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/matryer/is"
)

func TestCodeThatOnlyTheStartNeededIsReleased(t *testing.T) {
	is := is.New(t)
	before := ofFiles(t)
	is.NoErr(releaseCode())
	after := ofFiles(t)
	t.Logf("%d KiB of files were in memory, and %d KiB are", before, after)
	is.True(after < before)
}

// ofFiles is how much of files is in this process's memory, in KiB.
func ofFiles(t *testing.T) int {
	t.Helper()
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if fields := strings.Fields(line); fields[0] == "RssFile:" {
			kibibytes, err := strconv.Atoi(fields[1])
			if err != nil {
				t.Fatal(err)
			}
			return kibibytes
		}
	}
	t.Fatal("the kernel does not tell")
	return 0
}
