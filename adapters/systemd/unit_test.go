package systemd

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/godbus/dbus/v5"
	"github.com/matryer/is"

	"elemental/ports"
)

// TestWhatSystemdSaysOfAUnit holds what is concluded from its signals, in orders in which they were seen to come.
func TestWhatSystemdSaysOfAUnit(t *testing.T) {
	type said map[string]any
	const started = "the job is removed: "
	for name, c := range map[string]struct {
		signals []any // said, or the result of the start's job
		exited  bool
		exit    ports.Exit
	}{
		"it is made, and is no more than that": {signals: []any{said{"ActiveState": "inactive"}}},
		"it runs":                              {signals: []any{said{"ActiveState": "active"}, started + "done"}},
		"it ends well": {signals: []any{said{"ActiveState": "active"}, started + "done",
			said{"ExecMainCode": int32(1), "ExecMainStatus": int32(0)}, said{"ActiveState": "inactive"}}, exited: true},
		"it fails": {signals: []any{said{"ActiveState": "active"}, started + "done",
			said{"ExecMainCode": int32(1), "ExecMainStatus": int32(3)}, said{"ActiveState": "failed"}}, exited: true, exit: ports.Exit{Status: 3}},
		"it crashes with a core": {signals: []any{said{"ActiveState": "active"}, started + "done",
			said{"ExecMainCode": int32(3), "ExecMainStatus": int32(11)}, said{"ActiveState": "failed"}}, exited: true, exit: ports.Exit{Signal: 11}},
		"it leaves a child": {signals: []any{said{"ActiveState": "active"}, started + "done",
			said{"ExecMainCode": int32(1), "ExecMainStatus": int32(0)}, said{"ActiveState": "deactivating"}, said{"ActiveState": "inactive"}},
			exited: true, exit: ports.Exit{Left: true}},
		"it fails before it was seen to run": {signals: []any{said{"ActiveState": "activating"},
			said{"ExecMainCode": int32(1), "ExecMainStatus": int32(3)}, said{"ActiveState": "failed"}, started + "failed"}, exited: true, exit: ports.Exit{Status: 3}},
		"it can't be executed": {signals: []any{said{"ActiveState": "activating"},
			said{"ExecMainCode": int32(1), "ExecMainStatus": int32(203)}, said{"ActiveState": "failed"}, started + "failed"}},
		"its start is called off": {signals: []any{said{"ActiveState": "inactive"}, started + "canceled"}},
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			u := &unit{launcher: NewLauncher(), begun: make(chan struct{}), exited: make(chan struct{})}
			for _, signal := range c.signals {
				switch signal := signal.(type) {
				case said:
					values := map[string]dbus.Variant{}
					for name, value := range signal {
						values[name] = dbus.MakeVariant(value)
					}
					u.apply(values)
				case string:
					u.begin(strings.TrimPrefix(signal, started))
				}
			}
			select {
			case <-u.Exited():
				is.True(c.exited)
			default:
				is.True(!c.exited)
			}
			is.Equal(u.Exit(), c.exit)
		})
	}
}

// TestUnitThatIsBeingStartedIsNotGone asks for the state of a unit of which systemd has not heard yet.
func TestUnitThatIsBeingStartedIsNotGone(t *testing.T) {
	is := is.New(t)
	u := &unit{launcher: NewLauncher(), begun: make(chan struct{}), exited: make(chan struct{})}
	is.NoErr(u.refresh(t.Context(), nil)) // Nobody is asked.
	is.NoErr(u.adopt(t.Context(), nil))
	select {
	case <-u.Exited():
		t.Fatal("it is taken for one that is gone")
	default:
	}
}

// TestUnitThatCannotBeKilledIsGivenUp stops a unit that never ends, as one does not that waits for a disk.
func TestUnitThatCannotBeKilledIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		u := &unit{launcher: NewLauncher(), patience: 5 * time.Second, begun: make(chan struct{}), exited: make(chan struct{})}
		began := time.Now()
		go func() {
			time.Sleep(time.Hour)
			u.end(ports.Exit{}) // Or the test would hang.
		}()
		u.Stop()
		is.Equal(time.Since(began), 65*time.Second)
		is.True(strings.Contains(u.Exit().Lost, "had not ended"))
		<-u.Exited()
		time.Sleep(2 * time.Hour)
		is.True(u.Exit().Lost != "") // what was said of it stays
	})
}

func TestUnitName(t *testing.T) {
	is := is.New(t)
	name := unitName("my plugin@1.2/stage")
	is.True(strings.HasPrefix(name, "elemental-plugin-my-plugin-1.2-stage-"))
	is.True(strings.HasSuffix(name, ".service"))
	is.True(name != unitName("my plugin@1.2/stage"))
	is.True(len(unitName(strings.Repeat("x", 5000))) < 255)
}

func TestArgumentsAreTakenLiterally(t *testing.T) {
	is.New(t).Equal(literal([]string{"/opt/$HOME/plugin", "stage"}), []string{"/opt/$$HOME/plugin", "stage"})
}
