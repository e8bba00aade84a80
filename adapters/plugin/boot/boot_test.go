package boot

import (
	"testing"
	"time"

	"github.com/matryer/is"
)

func TestBoot(t *testing.T) {
	is := is.New(t)
	id, err := ID()
	is.NoErr(err)
	is.Equal(len(id), 36)
	again, err := ID()
	is.NoErr(err)
	is.Equal(id, again)

	began, err := Began()
	is.NoErr(err)
	is.True(began.Before(time.Now()) && began.After(time.Unix(0, 0)))
}
