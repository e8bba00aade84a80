package pid1

import (
	"strings"
	"testing"

	"github.com/matryer/is"
)

const anID = "3bfc269594ef649228e9a74bab00f042"

func TestDeployment(t *testing.T) {
	const other = "fb04dcb6970e4c3d1873de51fd5a50d7"
	for name, c := range map[string]struct {
		arguments   []string
		commandLine string
		id          string
		problem     string
	}{
		"from the argument":             {[]string{"elemental.deployment=" + anID}, "", anID, ""},
		"from the kernel command line":  {nil, "quiet elemental.deployment=" + anID + " panic=10\n", anID, ""},
		"the argument counts for more":  {[]string{"elemental.deployment=" + anID}, "elemental.deployment=" + other, anID, ""},
		"the last of several":           {nil, "elemental.deployment=" + other + " elemental.deployment=" + anID, anID, ""},
		"quoted, as a loader may do it": {nil, `elemental.deployment="` + anID + `"`, anID, ""},
		"none":                          {[]string{"single"}, "quiet", "", "no elemental.deployment=<id>"},
		"climbing":                      {[]string{"elemental.deployment=../../etc"}, "", "", "32 hexadecimal digits"},
		"too short":                     {nil, "elemental.deployment=3bfc", "", "32 hexadecimal digits"},
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			id, err := Deployment(c.arguments, c.commandLine)
			is.Equal(id, c.id)
			if c.problem == "" {
				is.NoErr(err)
				return
			}
			is.True(err != nil && strings.Contains(err.Error(), c.problem)) // a clear error
		})
	}
}

// position finds the first step that matches, or -1.
func position(steps []Step, match func(Step) bool) int {
	for i, s := range steps {
		if match(s) {
			return i
		}
	}
	return -1
}

func TestPlanOrder(t *testing.T) {
	is := is.New(t)
	disk := Disk{Deployment: anID, Mounted: map[string]bool{"/proc": true, "/dev": true}, BootHere: true}
	root := "/elemental/deployments/" + anID + "/root"
	steps := Plan(disk)
	at := func(do Action, to string) int {
		return position(steps, func(s Step) bool { return s.Do == do && s.To == to })
	}

	is.Equal(at(Private, "/"), 0)
	is.Equal(at(Bind, root), 1)
	readOnly := at(ReadOnly, root)
	is.True(readOnly > 1)
	for i, s := range steps {
		if s.Do == Folder && strings.HasPrefix(s.To, root) && !strings.HasPrefix(s.To, root+"/run/") {
			is.True(i < readOnly) // mount points are made while that is still possible
		}
	}
	for _, folder := range []string{"/etc", "/var", "/home", "/root", "/elemental", "/boot"} {
		is.True(at(Bind, root+folder) > readOnly)                // bound onto the read-only root
		is.True(at(Folder, root+folder) < at(Bind, root+folder)) // where a folder is
	}
	is.True(at(Folder, "/elemental/var") < at(Folder, "/elemental/var/home")) // parents first
	is.True(at(Move, root+"/proc") > 0)                                       // what is mounted is moved
	is.True(at(Mount, root+"/sys") > 0)                                       // what is not is mounted
	is.Equal(at(Mount, root+"/proc"), -1)
	is.True(at(Write, root+BootedFile) > at(Mount, root+"/run")) // not on a disk, where it would outlive the boot
	is.True(at(Enter, root) > at(Write, root+BootedFile))
	is.Equal(at(Shared, "/"), len(steps)-1)
}

func TestPlanLeavesLinksAndForeignBootAlone(t *testing.T) {
	is := is.New(t)
	steps := Plan(Disk{Deployment: anID, Linked: map[string]bool{"/home": true}})
	is.Equal(position(steps, func(s Step) bool { return strings.HasSuffix(s.To, "/root/home") }), -1) // the image's own link
	is.Equal(position(steps, func(s Step) bool { return strings.HasSuffix(s.To, "/boot") }), -1)      // the system mounts it itself
}
