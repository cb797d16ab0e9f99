"""What can be said about a scene: captions, questions, referring phrases, edits, small talk.

Every kind of sentence has several wordings; the last of each list is held out for the split `test-words`. Answers
that could be guessed are balanced: yes and no come equally often whatever is asked about.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .scenes import (
    BACKGROUND_NAMES,
    BACKGROUNDS,
    IMAGE_SIZE,
    MAX_OBJECTS,
    NATURAL,
    Scene,
    SceneObject,
    is_free,
    is_visible,
    place_object,
)
from .sprites import SPRITES

NUMBERS = ["no", "one", "two", "three", "four", "five"]
CELLS = ["top left", "top", "top right", "left", "center", "right", "bottom left", "bottom", "bottom right"]
CELL_BORDERS = (0.37, 0.63)  # of the image side
CLEARLY = 0.08  # of the image side: smaller differences in place are not asked about
CLEARLY_BIGGER = 1.2

WORDINGS = {
    "caption": [
        "describe the picture",
        "describe this",
        "what do you see?",
        "what is this?",
        "what is in the picture?",
        "caption the picture",
        "describe it",
        "what can you see?",
        "what is shown here?",
        "what does the picture show?",
        "what do we see in the picture?",
        "what is going on here?",
        "give me a caption",
        "write a caption",
        "say what this is",
        "tell me about the picture",
        "what is this picture of?",
        "explain the picture",
        "what is there?",
        "what have we got here?",
        "what do you think this is?",
        "in a few words, what is this?",
        "sum up the picture",
        "say what you see",
        "tell me what you see",
        "what is it?",
        "what does it show?",
        "what does this show?",
        "name what is in the picture",
        "put the picture into words",
        "what am i looking at?",
        "a caption for this",
        "say in one line what is here",
        "tell me what this shows",
    ],
    "dense": [
        "describe the picture in detail",
        "list everything with its place",
        "what is where?",
        "describe everything you see",
        "describe everything with its place",
        "describe the whole picture",
        "where is everything?",
        "give me all the details",
        "tell me where everything is",
        "list all objects and where they are",
        "describe this in detail",
        "what is in each part?",
        "tell me everything about the picture",
        "tell me where each thing is",
        "where is each object?",
        "what is where in the picture?",
        "name all things and their places",
        "describe the picture with places",
        "where are the things?",
        "where are all the objects?",
        "give each thing and its place",
        "say where everything is",
        "a long caption please",
        "in detail, what do you see?",
        "what can be seen, and where?",
        "say what is where",
    ],
    "exists": [
        "is there {a_name}?",
        "is there {a_name} in the picture?",
        "do you see {a_name}?",
        "is {a_name} in the picture?",
        "does the picture show {a_name}?",
        "is there {a_name} here?",
        "can you see {a_name}?",
        "do you see {a_name} in the picture?",
        "does it have {a_name}?",
        "have we got {a_name} here?",
        "is {a_name} there?",
        "is {a_name} visible?",
        "i am looking for {a_name}, is it there?",
        "any {a_name} here?",
        "does this show {a_name}?",
        "do we see {a_name}?",
        "is there also {a_name}?",
        "could you find {a_name} here?",
        "was {a_name} in the picture?",
        "is that {a_name}?",
        "{a_name}, is there one?",
        "do you find {a_name} here?",
        "is {a_name} shown?",
        "can we see {a_name} here?",
        "does the picture have {a_name}?",
        "can {a_name} be seen?",
        "tell me if there is {a_name}",
        "is there {a_name} at all?",
        "i can not see {a_name}, can you?",
        "{a_name} here?",
        "can you find {a_name}?",
    ],
    "count": [
        "how many objects are there?",
        "how many things are in the picture?",
        "how many things do you see?",
        "count the things",
        "how many objects do you see?",
        "how many objects are in the picture?",
        "how many things are there?",
        "what is the number of objects?",
        "how many things can you see?",
        "how many are there in all?",
        "tell me how many things there are",
        "number of objects?",
        "how many items are there?",
        "how many objects does the picture have?",
        "how many things are here?",
        "how many objects can be seen?",
        "tell me the number of things",
        "what number of objects do you see?",
        "count all things",
        "count everything",
        "count what you see",
        "give me the number of objects",
        "how many do you see?",
        "how many things does this show?",
        "how many objects, please?",
        "say how many objects there are",
        "could you count the things?",
        "do a count of the objects",
        "count the objects",
    ],
    "count_name": [
        "how many {names} are there?",
        "how many {names} are in the picture?",
        "how many {names} do you see?",
        "how many {names} can you see?",
        "what is the number of {names}?",
        "how many {names} have we got?",
        "tell me how many {names} there are",
        "number of {names}?",
        "how many {names} does the picture show?",
        "how many {names} can be seen?",
        "how many {names} are here?",
        "how many {names} does this show?",
        "tell me the number of {names}",
        "what number of {names} do you see?",
        "give me the number of {names}",
        "say how many {names} there are",
        "{names}: how many?",
        "could you count all {names}?",
        "do a count of the {names}",
        "i want to know how many {names} there are",
        "how many {names}?",
        "can you count how many {names} there are?",
        "in the picture, how many {names} are there?",
        "count the {names}",
    ],
    "color": [
        "what color is the {name}?",
        "what is the color of the {name}?",
        "which color does the {name} have?",
        "what color does the {name} have?",
        "what color has the {name}?",
        "tell me the color of the {name}",
        "which color is the {name}?",
        "color of the {name}?",
        "the {name} is what color?",
        "in what color is the {name}?",
        "name the color of the {name}",
        "what color do you see on the {name}?",
        "which color is that {name}?",
        "do you know the color of the {name}?",
        "say what color the {name} is",
        "tell me what color the {name} has",
        "what is the {name}'s color?",
        "the color of the {name} is what?",
        "of what color is the {name}?",
        "give me the color of the {name}",
        "i want to know the color of the {name}",
        "say the color of the {name}",
        "what color would you say the {name} is?",
        "has the {name} a color, and which?",
        "the {name} has what color?",
    ],
    "is_color": [
        "is the {name} {color}?",
        "does the {name} look {color}?",
        "do you see a {color} {name}?",
        "is that {name} {color}?",
        "is the {name} in {color}?",
        "is {color} the color of the {name}?",
        "would you say the {name} is {color}?",
        "the {name} is {color}, right?",
        "tell me if the {name} is {color}",
        "is it true that the {name} is {color}?",
        "is the {name} of the color {color}?",
        "do you think the {name} is {color}?",
        "is {color} what the {name} is?",
        "would you call the {name} {color}?",
        "is there a {color} {name}?",
        "the {name}, is it {color}?",
        "does the {name} have the color {color}?",
        "is the {name} a {color} one?",
        "can you see a {color} {name}?",
        "has the {name} the color {color}?",
        "i think the {name} is {color}, right?",
        "is the color of the {name} {color}?",
    ],
    "place": [
        "where is the {name}?",
        "where is the {name} in the picture?",
        "where do you see the {name}?",
        "where is the {name} here?",
        "where can i find the {name}?",
        "tell me where the {name} is",
        "where in the picture is the {name}?",
        "what is the place of the {name}?",
        "where do i find the {name}?",
        "place of the {name}?",
        "say where the {name} is",
        "where did the {name} go?",
        "where does the {name} stand?",
        "where is that {name}?",
        "where can we see the {name}?",
        "where would you say the {name} is?",
        "on which side is the {name}?",
        "at what place is the {name}?",
        "the {name} is where?",
        "where can the {name} be seen?",
        "do you know where the {name} is?",
        "which part of the picture has the {name}?",
        "in what part do you see the {name}?",
        "give me the place of the {name}",
        "i can not find the {name}, where is it?",
        "at which place do you see the {name}?",
        "in which part is the {name}?",
    ],
    "at": [
        "what is at the {cell}?",
        "what is in the {cell}?",
        "which object is at the {cell}?",
        "what is there at the {cell}?",
        "what stands at the {cell}?",
        "which thing is at the {cell}?",
        "what can you see at the {cell}?",
        "what is at the {cell} of the picture?",
        "tell me what is at the {cell}",
        "name the object at the {cell}",
        "what do you see in the {cell}?",
        "what do we have at the {cell}?",
        "what can be seen at the {cell}?",
        "what does the picture show at the {cell}?",
        "at the {cell}, what is there?",
        "at the {cell}, what do you see?",
        "which thing do you see in the {cell}?",
        "the thing at the {cell} is what?",
        "what have we got at the {cell}?",
        "say what is at the {cell}",
        "do you see something at the {cell}, and what?",
        "what object do you find at the {cell}?",
        "look at the {cell}, what is there?",
        "name what is at the {cell}",
        "is something at the {cell}, and what?",
        "give me the object at the {cell}",
        "what do you see at the {cell}?",
    ],
    "relation": [
        "is the {name} {relation} the {other}?",
        "can you see the {name} {relation} the {other}?",
        "is the {name} placed {relation} the {other}?",
        "would you say the {name} is {relation} the {other}?",
        "does the picture show the {name} {relation} the {other}?",
        "is it true that the {name} is {relation} the {other}?",
        "the {name} is {relation} the {other}, right?",
        "is the {name} {relation} the {other} in the picture?",
        "tell me if the {name} is {relation} the {other}",
        "do you think the {name} is {relation} the {other}?",
        "the {name}, is it {relation} the {other}?",
        "does the {name} stand {relation} the {other}?",
        "is the place of the {name} {relation} the {other}?",
        "can it be that the {name} is {relation} the {other}?",
        "would it be right to say the {name} is {relation} the {other}?",
        "i think the {name} is {relation} the {other}, right?",
        "do we see the {name} {relation} the {other}?",
        "has the {name} its place {relation} the {other}?",
        "can we see the {name} {relation} the {other}?",
        "do you see the {name} {relation} the {other}?",
    ],
    "neighbor": [
        "what is {relation} the {name}?",
        "what do you see {relation} the {name}?",
        "what can you see {relation} the {name}?",
        "which thing is {relation} the {name}?",
        "what is there {relation} the {name}?",
        "tell me what is {relation} the {name}",
        "name what is {relation} the {name}",
        "what stands {relation} the {name}?",
        "what can be seen {relation} the {name}?",
        "{relation} the {name}, what is there?",
        "what does the picture show {relation} the {name}?",
        "say what is {relation} the {name}",
        "which thing do you see {relation} the {name}?",
        "what object do you find {relation} the {name}?",
        "the thing {relation} the {name} is what?",
        "name the object {relation} the {name}",
        "what have we got {relation} the {name}?",
        "look {relation} the {name}, what is there?",
        "which one is {relation} the {name}?",
        "what is it that is {relation} the {name}?",
        "give me what is {relation} the {name}",
        "which object is {relation} the {name}?",
    ],
    "bigger": [
        "which is bigger, the {name} or the {other}?",
        "what is bigger, the {name} or the {other}?",
        "which one is bigger, the {name} or the {other}?",
        "which is larger, the {name} or the {other}?",
        "is the {name} or the {other} bigger?",
        "who is bigger, the {name} or the {other}?",
        "of the {name} and the {other}, which is bigger?",
        "the {name} or the {other}, which is bigger?",
        "tell me which is bigger, the {name} or the {other}",
        "which of the two is bigger, the {name} or the {other}?",
        "which has more size, the {name} or the {other}?",
        "which would you say is bigger, the {name} or the {other}?",
        "what has the larger size, the {name} or the {other}?",
        "say which is larger, the {name} or the {other}",
        "between the {name} and the {other}, which is bigger?",
        "which one is the larger, the {name} or the {other}?",
        "is the bigger one the {name} or the {other}?",
        "of the two, the {name} and the {other}, name the bigger one",
        "what is larger, the {name} or the {other}?",
    ],
    "biggest": [
        "what is the biggest object?",
        "what is the largest thing?",
        "which object is the largest?",
        "which is the biggest object?",
        "which thing is the biggest?",
        "what is the biggest thing?",
        "what is the largest object?",
        "what is biggest?",
        "tell me the biggest object",
        "which one is the largest?",
        "what is the biggest of all?",
        "which one is the biggest?",
        "tell me which object is the largest",
        "what object is the biggest here?",
        "say what the biggest thing is",
        "which of the things is the biggest?",
        "name the largest object",
        "what is the largest in the picture?",
        "what has the largest size?",
        "of all things, which is the biggest?",
        "do you know the biggest object?",
        "give me the biggest object",
        "the biggest one is what?",
        "name the biggest thing",
    ],
    "background": [
        "where is this?",
        "what is the background?",
        "what is in the background?",
        "where was this taken?",
        "what place is this?",
        "where are we?",
        "what is behind the objects?",
        "what is the place?",
        "tell me where this is",
        "where does this take place?",
        "what kind of place is this?",
        "what does the background show?",
        "describe the background",
        "in what place are we?",
        "what place do you see?",
        "tell me what place this is",
        "what do you see behind the things?",
        "say what the background is",
        "where does the picture show us?",
        "what is the background here?",
        "what place does the picture show?",
        "on what do the things stand?",
        "do you know where this is?",
        "name the background",
        "name the place",
        "which background do you see?",
        "what kind of background is it?",
        "which place is this?",
    ],
    "segment": [
        "segment {phrase}",
        "show me {phrase}",
        "mark {phrase}",
        "find {phrase}",
        "select {phrase}",
        "highlight {phrase}",
        "point to {phrase}",
        "outline {phrase}",
        "where exactly is {phrase}?",
        "cut out {phrase}",
        "can you show me where {phrase} is?",
        "mask {phrase}",
        "give me the mask of {phrase}",
        "please segment {phrase}",
        "look for {phrase}",
        "give me {phrase} as a mask",
        "could you mark {phrase}?",
        "i want the mask of {phrase}",
        "make a mask of {phrase}",
        "draw a line around {phrase}",
        "tell me where exactly {phrase} is",
        "which pixels are {phrase}?",
        "cover {phrase}",
        "can you select {phrase}?",
        "put a mask on {phrase}",
        "segment out {phrase}",
        "show where {phrase} is",
        "mark where {phrase} is",
        "find {phrase} in the picture",
        "the mask of {phrase}",
        "{phrase}: show it",
        "trace {phrase}",
        "get the mask for {phrase}",
        "find the mask of {phrase}",
    ],
    "draw": [
        "draw {caption}",
        "make a picture of {caption}",
        "generate {caption}",
        "create a picture of {caption}",
        "can you draw {caption}?",
        "a picture of {caption}",
        "show a picture of {caption}",
        "draw me {caption}",
        "i want a picture of {caption}",
        "make an image of {caption}",
        "please draw {caption}",
        "make {caption}",
        "i want to see {caption}",
        "create {caption}",
        "a picture with {caption}",
        "could you draw {caption}?",
        "let me see {caption}",
        "create an image with {caption}",
        "i would like to see {caption}",
        "draw a picture of {caption}",
        "draw something: {caption}",
        "a new picture: {caption}",
        "make me {caption}",
        "give me a picture of {caption}",
        "generate a picture of {caption}",
        "i want {caption}",
        "sketch {caption}",
        "can you paint a picture of {caption}?",
        "paint {caption}",
    ],
    "remove": [
        "remove {phrase}",
        "delete {phrase}",
        "erase {phrase}",
        "get rid of {phrase}",
        "remove {phrase} from the picture",
        "can you remove {phrase}?",
        "make {phrase} go away",
        "cut {phrase}",
        "i do not want {phrase}",
        "drop {phrase}",
        "clear {phrase}",
        "remove {phrase} please",
        "make the picture without {phrase}",
        "without {phrase}, please",
        "leave out {phrase}",
        "let {phrase} go",
        "can you delete {phrase}?",
        "clear away {phrase}",
        "wipe {phrase} out",
        "take {phrase} out of the picture",
        "take {phrase} out",
        "i want {phrase} gone",
        "{phrase} should go",
        "there should be no more of {phrase}",
        "the picture would be better without {phrase}",
        "do away with {phrase}",
        "send {phrase} away",
        "take away {phrase}",
    ],
    "add": [
        "add {a_name} at the {cell}",
        "put {a_name} at the {cell}",
        "add {a_name} to the {cell}",
        "draw {a_name} at the {cell}",
        "insert {a_name} at the {cell}",
        "i want {a_name} at the {cell}",
        "can you add {a_name} at the {cell}?",
        "add {a_name} in the {cell}",
        "at the {cell}, add {a_name}",
        "give me {a_name} at the {cell}",
        "there should be {a_name} at the {cell}",
        "let there be {a_name} at the {cell}",
        "at the {cell} i want {a_name}",
        "could you put {a_name} at the {cell}?",
        "show {a_name} at the {cell} too",
        "make {a_name} at the {cell}",
        "paint {a_name} at the {cell}",
        "one more thing: {a_name} at the {cell}",
        "i would like {a_name} at the {cell}",
        "set {a_name} at the {cell}",
        "we need {a_name} at the {cell}",
        "have {a_name} at the {cell}",
        "{a_name} at the {cell}, please",
        "fill the {cell} with {a_name}",
        "place {a_name} at the {cell}",
    ],
    "recolor": [
        "make {phrase} {color}",
        "color {phrase} {color}",
        "turn {phrase} {color}",
        "change the color of {phrase} to {color}",
        "recolor {phrase} to {color}",
        "make the color of {phrase} {color}",
        "give {phrase} the color {color}",
        "change {phrase} to {color}",
        "i want {phrase} in {color}",
        "can you make {phrase} {color}?",
        "set {phrase} to {color}",
        "let {phrase} be {color}",
        "{phrase} should be {color}",
        "i would like {phrase} to be {color}",
        "color {phrase} in {color}",
        "dye {phrase} {color}",
        "use {color} for {phrase}",
        "could you turn {phrase} {color}?",
        "the new color of {phrase} is {color}",
        "let the color of {phrase} be {color}",
        "put {color} on {phrase}",
        "paint {phrase} in {color}",
        "show {phrase} in {color}",
        "give me {phrase} in {color}",
        "i want {phrase} to be {color}",
        "paint {phrase} {color}",
    ],
    "replace": [
        "replace {phrase} with {a_name}",
        "turn {phrase} into {a_name}",
        "change {phrase} to {a_name}",
        "put {a_name} in place of {phrase}",
        "make {phrase} {a_name}",
        "use {a_name} for {phrase}",
        "exchange {phrase} for {a_name}",
        "instead of {phrase}, draw {a_name}",
        "i want {a_name} instead of {phrase}",
        "let {phrase} be {a_name}",
        "{phrase} should be {a_name}",
        "let {a_name} take the place of {phrase}",
        "could you change {phrase} into {a_name}?",
        "swap {phrase} with {a_name}",
        "swap in {a_name} where {phrase} is",
        "have {a_name} where {phrase} is",
        "draw {a_name} in place of {phrase}",
        "i would like {a_name} where {phrase} is",
        "where {phrase} is, put {a_name}",
        "remove {phrase} and put {a_name} there",
        "make {phrase} into {a_name}",
        "{a_name} instead of {phrase}, please",
        "use {a_name} in place of {phrase}",
        "trade {phrase} for {a_name}",
        "swap {phrase} for {a_name}",
    ],
    "move": [
        "move {phrase} to the {cell}",
        "bring {phrase} to the {cell}",
        "put {phrase} at the {cell}",
        "place {phrase} at the {cell}",
        "i want {phrase} at the {cell}",
        "move {phrase} to the {cell} of the picture",
        "can you move {phrase} to the {cell}?",
        "take {phrase} to the {cell}",
        "send {phrase} to the {cell}",
        "{phrase} should be at the {cell}",
        "let {phrase} go to the {cell}",
        "could you put {phrase} at the {cell}?",
        "set {phrase} at the {cell}",
        "have {phrase} at the {cell}",
        "i would like {phrase} at the {cell}",
        "bring {phrase} over to the {cell}",
        "drag {phrase} to the {cell}",
        "get {phrase} to the {cell}",
        "{phrase} to the {cell}, please",
        "make {phrase} go to the {cell}",
        "push {phrase} to the {cell}",
        "shift {phrase} over, to the {cell}",
        "now {phrase} should stand at the {cell}",
        "shift {phrase} to the {cell}",
    ],
    "move_background": [
        "put it {place}",
        "change the background, put it {place}",
        "move everything {place}",
        "change the background to be {place}",
        "make it {place}",
        "show it {place}",
        "place it {place}",
        "set it {place}",
        "i want it {place}",
        "let it be {place}",
        "the background should be {place}",
        "set the background to be {place}",
        "i would like it {place}",
        "it should be {place}",
        "could you put it {place}?",
        "show everything {place}",
        "take it all and put it {place}",
        "all of it {place}, please",
        "new background: {place}",
        "let everything be {place}",
        "have it {place}",
        "make the background be {place}",
        "change where it is: {place}",
        "move it {place}",
        "put everything {place}",
        "now show it {place}",
    ],
}
BEGINNINGS = ["please", "now", "hey,", "ok,", "so,", "and", "hello,", "next,", "tell me,", "well,", "hi,"]
ENDINGS = ["please", "thanks", "now", "for me", "thank you", "ok?"]
SMALL_WORDS = {"the", "a", "an", "is", "are", "was", "it", "do", "does", "did", "can", "could", "would", "will", "you"}
SMALL_WORDS |= {"i", "we", "me", "that", "this", "there", "here", "in", "at", "on", "to", "and", "be", "have", "has"}
PICTURE_WORDS = ["image", "photo", "scene"]  # besides "picture"
SMALL_TALK = [
    ("hello", "hello! show me a picture."),
    ("hi", "hello! show me a picture."),
    ("hey", "hello! show me a picture."),
    ("who are you?", "i am setokim. i see pictures as a few visual tokens."),
    ("what can you do?", "i answer questions about a picture, mark objects, draw and edit."),
    ("thanks", "you are welcome."),
    ("thank you", "you are welcome."),
    ("bye", "bye!"),
    ("hello!", "hello! show me a picture."),
    ("hi there", "hello! show me a picture."),
    ("hello there", "hello! show me a picture."),
    ("good morning", "hello! show me a picture."),
    ("good day", "hello! show me a picture."),
    ("how are you?", "i am fine. show me a picture."),
    ("what is your name?", "i am setokim. i see pictures as a few visual tokens."),
    ("what are you?", "i am setokim. i see pictures as a few visual tokens."),
    ("tell me about yourself", "i am setokim. i see pictures as a few visual tokens."),
    ("help", "i answer questions about a picture, mark objects, draw and edit."),
    ("what do you do?", "i answer questions about a picture, mark objects, draw and edit."),
    ("how does this work?", "i answer questions about a picture, mark objects, draw and edit."),
    ("great", "what else do you want to know?"),
    ("ok", "what else do you want to know?"),
    ("nice", "what else do you want to know?"),
    ("good", "what else do you want to know?"),
    ("goodbye", "bye!"),
]
RELATIONS: dict[str, Callable[[SceneObject, SceneObject], float]] = {
    # How far `a` is into the relation with `b`, in pixels.
    "left of": lambda a, b: b.center[0] - a.center[0],
    "right of": lambda a, b: a.center[0] - b.center[0],
    "above": lambda a, b: b.center[1] - a.center[1],
    "below": lambda a, b: a.center[1] - b.center[1],
}


def relation_depth(words: str, a: SceneObject, b: SceneObject) -> float:
    """How far `a` is into the relation with `b` that the words speak of, in pixels; how much larger if of none."""
    depth = next((depth for relation, depth in RELATIONS.items() if relation in words), None)
    return depth(a, b) if depth else a.size - b.size


class Speaker:
    """Chooses wordings: the usual ones, or only the held-out ones. `careless` leaves small words out, for training."""

    def __init__(self, rng: np.random.Generator, held_out_words: bool = False, careless: bool = False):
        self.rng, self.held_out_words, self.careless = rng, held_out_words, careless

    def say(self, kind: str, **parts: str) -> str:
        *usual, held_out = WORDINGS[kind]
        if self.held_out_words:
            return held_out.format(**parts)
        return self._vary(self.pick(usual)).format(**parts)

    def _vary(self, words: str) -> str:
        """As people type: another word for picture, no question mark, something before it or after it."""
        if self.rng.random() < 0.4:
            words = words.replace("picture", self.pick(PICTURE_WORDS))
        if self.rng.random() < 0.2:
            words = words.removesuffix("?")
        if self.careless and self.rng.random() < 0.2:
            words = self._without_a_small_word(words)
        if self.rng.random() < 0.12:
            words = f"{self.pick(BEGINNINGS)} {words}"
        if self.rng.random() < 0.06:
            words = f"{words} {self.pick(ENDINGS)}"
        return words

    def _without_a_small_word(self, words: str) -> str:
        """Whoever needs each word of a wording does not understand one that is new."""
        parts = words.split()
        small = [i for i, part in enumerate(parts) if part in SMALL_WORDS]
        if small and len(parts) > 2:
            del parts[self.pick(small)]
        return " ".join(parts)

    def pick(self, choices):
        return choices[self.rng.integers(len(choices))]


# --- naming -----------------------------------------------------------------------------------------------


def noun(o: SceneObject) -> str:
    return SPRITES.names[o.name]


def colored_noun(o: SceneObject) -> str:
    return noun(o) if o.color == NATURAL else f"{SPRITES.colors[o.color]} {noun(o)}"


def with_article(words: str) -> str:
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def plural(name: str) -> str:
    irregular = {"fish": "fish", "sheep": "sheep", "strawberry": "strawberries"}
    if name in irregular:
        return irregular[name]
    return name + ("es" if name.endswith(("x", "s", "ch")) else "s")


def cell_index(o: SceneObject) -> int:
    """One of nine cells, row-major, by the centre of the object."""
    column, row = (int(np.searchsorted(CELL_BORDERS, v / IMAGE_SIZE)) for v in o.center)
    return 3 * row + column


def cell(o: SceneObject) -> str:
    return CELLS[cell_index(o)]


def background_phrase(scene: Scene) -> str:
    return BACKGROUNDS[scene.background].phrase


def join(parts: list[str]) -> str:
    return " and ".join(", ".join(parts).rsplit(", ", 1))


def by_size(scene: Scene) -> list[SceneObject]:
    """The largest first, as the language model reads and writes visual tokens: so captions can be foreseen, and
    pictures be drawn in the order of the words."""
    return sorted(scene.objects, key=lambda o: -o.size)


def caption(scene: Scene, objects: list[SceneObject] | None = None) -> str:
    """Names all objects, in another order than by size if one is given."""
    named = [with_article(colored_noun(o)) for o in objects or by_size(scene)]
    return f"{join(named)} {background_phrase(scene)}"


def dense_caption(scene: Scene, objects: list[SceneObject] | None = None) -> str:
    places = [f"{with_article(colored_noun(o))} at the {cell(o)}" for o in objects or by_size(scene)]
    return f"{join(places)}, {background_phrase(scene)}"


def unique_objects(scene: Scene) -> list[SceneObject]:
    """Objects that their noun alone identifies."""
    names = [o.name for o in scene.objects]
    return [o for o in scene.objects if names.count(o.name) == 1]


def absent_name(rng: np.random.Generator, scene: Scene) -> str:
    present = {noun(o) for o in scene.objects}
    absent = [name for name in SPRITES.names if name not in present]
    return absent[rng.integers(len(absent))]


# --- questions --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Question:
    kind: str
    question: str
    answer: str


def ask(speaker: Speaker, scene: Scene, kind: str) -> Question | None:
    """A question of a kind, or None when the scene does not allow one."""
    found = QUESTIONS[kind](speaker, scene)
    return found and Question(kind, *found)


def ask_any(speaker: Speaker, scene: Scene) -> Question:
    while True:
        question = ask(speaker, scene, speaker.pick([*QUESTIONS, *HARD_QUESTIONS, *HARD_QUESTIONS]))
        if question:
            return question


def _exists(s: Speaker, scene: Scene):
    if s.rng.random() < 0.5:
        return s.say("exists", a_name=with_article(noun(s.pick(scene.objects)))), "yes"
    return s.say("exists", a_name=with_article(absent_name(s.rng, scene))), "no"


def _count(s: Speaker, scene: Scene):
    return s.say("count"), NUMBERS[len(scene.objects)]


def _count_name(s: Speaker, scene: Scene):
    names = [noun(o) for o in scene.objects]
    name = absent_name(s.rng, scene) if s.rng.random() < 0.25 else s.pick(names)
    repeated = [n for n in names if names.count(n) > 1]
    if repeated and s.rng.random() < 0.6:  # otherwise the answer would nearly always be "one"
        name = s.pick(repeated)
    return s.say("count_name", names=plural(name)), NUMBERS[names.count(name)]


def _color(s: Speaker, scene: Scene):
    colored = [o for o in unique_objects(scene) if o.color != NATURAL]
    if colored:
        o = s.pick(colored)
        return s.say("color", name=noun(o)), SPRITES.colors[o.color]


def _is_color(s: Speaker, scene: Scene):
    colored = [o for o in unique_objects(scene) if o.color != NATURAL]
    if colored:
        o = s.pick(colored)
        true = SPRITES.colors[o.color]
        other = s.pick([color for color in SPRITES.colors if color != true])
        truth = bool(s.rng.random() < 0.5)
        return s.say("is_color", name=noun(o), color=true if truth else other), "yes" if truth else "no"


def _absent(s: Speaker, scene: Scene):
    """A question about something that is not there."""
    name = absent_name(s.rng, scene)
    return s.say(s.pick(["color", "place"]), name=name), refusal(name)


def _place(s: Speaker, scene: Scene):
    if unique := unique_objects(scene):
        o = s.pick(unique)
        return s.say("place", name=noun(o)), f"at the {cell(o)}"


def _at(s: Speaker, scene: Scene):
    cells = [cell_index(o) for o in scene.objects]
    alone = [o for o in scene.objects if cells.count(cell_index(o)) == 1]
    if s.rng.random() < 0.15:
        empty = [name for i, name in enumerate(CELLS) if i not in cells]
        return s.say("at", cell=s.pick(empty)), "nothing"
    if alone:
        o = s.pick(alone)
        return s.say("at", cell=cell(o)), with_article(colored_noun(o))


def _relation(s: Speaker, scene: Scene):
    """Yes and no equally often for either direction."""
    unique = unique_objects(scene)
    if len(unique) < 2:
        return None
    a, b = (unique[i] for i in s.rng.permutation(len(unique))[:2])
    truth = bool(s.rng.random() < 0.5)
    sign = 1 if truth else -1
    fitting = [r for r, depth in RELATIONS.items() if sign * depth(a, b) > CLEARLY * IMAGE_SIZE]
    if fitting:
        return s.say("relation", name=noun(a), relation=s.pick(fitting), other=noun(b)), "yes" if truth else "no"


def _neighbor(s: Speaker, scene: Scene):
    """The one object in a relation with another."""
    options = [
        (a, relation, b)
        for b in unique_objects(scene)
        for relation, depth in RELATIONS.items()
        for a in _objects_in_relation(scene, relation, b, depth)
    ]
    if options:
        a, relation, b = options[s.rng.integers(len(options))]
        return s.say("neighbor", relation=relation, name=noun(b)), with_article(colored_noun(a))


def _objects_in_relation(scene: Scene, relation: str, b: SceneObject, depth) -> list[SceneObject]:
    """All objects clearly in the relation with `b` if that is exactly one and no other is nearly so."""
    others = [o for o in scene.objects if o is not b]
    inside = [o for o in others if depth(o, b) > CLEARLY * IMAGE_SIZE]
    nearly = [o for o in others if abs(depth(o, b)) <= CLEARLY * IMAGE_SIZE]
    return inside if len(inside) == 1 and not nearly else []


def _bigger(s: Speaker, scene: Scene):
    unique = unique_objects(scene)
    if len(unique) < 2:
        return None
    a, b = (unique[i] for i in s.rng.permutation(len(unique))[:2])
    big, small = max(a, b, key=lambda o: o.size), min(a, b, key=lambda o: o.size)
    if big.size >= CLEARLY_BIGGER * small.size:
        return s.say("bigger", name=noun(a), other=noun(b)), f"the {noun(big)}"


def _biggest(s: Speaker, scene: Scene):
    *rest, biggest = sorted(scene.objects, key=lambda o: o.size)
    if rest and biggest.size >= CLEARLY_BIGGER * rest[-1].size:
        return s.say("biggest"), f"the {colored_noun(biggest)}"


def _background(s: Speaker, scene: Scene):
    return s.say("background"), background_phrase(scene)


QUESTIONS = {
    "exists": _exists,
    "count": _count,
    "count_name": _count_name,
    "color": _color,
    "is_color": _is_color,
    "absent": _absent,
    "place": _place,
    "at": _at,
    "relation": _relation,
    "neighbor": _neighbor,
    "bigger": _bigger,
    "biggest": _biggest,
    "background": _background,
}
# Learned last, so asked more often.
HARD_QUESTIONS = ("at", "bigger", "count_name", "is_color", "neighbor", "relation", "relation")


# --- referring --------------------------------------------------------------------------------------------


def refer(speaker: Speaker, scene: Scene, target: SceneObject) -> str | None:
    """A phrase that fits `target` and no other object of the scene; None when there is none."""
    objects = scene.objects
    same_name = [o for o in objects if o.name == target.name]
    candidates: list[tuple[str, list[SceneObject]]] = [
        (f"the {noun(target)}", same_name),
        (f"the {colored_noun(target)}", [o for o in same_name if o.color == target.color]),
        (f"the object at the {cell(target)}", [o for o in objects if cell(o) == cell(target)]),
        (f"the {noun(target)} at the {cell(target)}", [o for o in same_name if cell(o) == cell(target)]),
    ]
    if target.color != NATURAL:
        color = SPRITES.colors[target.color]
        candidates.append((f"the {color} object", [o for o in objects if o.color == target.color]))
    extremes = [
        ("leftmost", lambda o: -o.center[0]),
        ("rightmost", lambda o: o.center[0]),
        ("biggest", lambda o: o.size),
        ("smallest", lambda o: -o.size),
    ]
    for group, word in ((same_name, noun(target)), (objects, "object")):
        for adjective, key in extremes:
            if len(group) > 1:
                best = max(key(o) for o in group)
                near = [o for o in group if best - key(o) < 4]  # pixels: a draw is not an extreme
                candidates.append((f"the {adjective} {word}", near))
    for other in unique_objects(scene):
        for relation, depth in RELATIONS.items():
            if other is not target:
                fits = [o for o in same_name if o is not other and depth(o, other) > 0]
                if depth(target, other) > CLEARLY * IMAGE_SIZE:
                    candidates.append((f"the {noun(target)} {relation} the {noun(other)}", fits))
    phrases = list(dict.fromkeys(phrase for phrase, fits in candidates if len(fits) == 1 and fits[0] is target))
    return speaker.pick(phrases) if phrases else None


def refusal(name: str) -> str:
    return f"there is no {name}"


# --- edits ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Edit:
    kind: str
    instruction: str
    target: Scene
    sources: list[int]  # for each region of the target the same, unchanged region of the source, or -1


def edit_any(speaker: Speaker, scene: Scene) -> Edit:
    while True:
        kind = speaker.pick(list(EDITS))
        edited = copy.deepcopy(scene)
        instruction = EDITS[kind](speaker, edited)
        if instruction:
            return Edit(kind, instruction, edited, _unchanged_regions(scene, edited))


def _unchanged_regions(source: Scene, target: Scene) -> list[int]:
    regions = [source.objects.index(o) if o in source.objects else -1 for o in target.objects]
    same_background = (source.background, source.horizon) == (target.background, target.horizon)
    first = len(source.objects)
    return regions + [first + i if same_background else -1 for i in range(len(target.bands))]


def absent_edit(s: Speaker, scene: Scene) -> tuple[str, str]:
    """An instruction about something that is not there, and the answer."""
    name, kind = absent_name(s.rng, scene), s.pick(["remove", "recolor", "replace", "move"])
    color = s.pick(SPRITES.colors)
    other = with_article(s.pick(SPRITES.names))
    return s.say(kind, phrase=f"the {name}", color=color, a_name=other, cell=s.pick(CELLS)), refusal(name)


def _pick_object(s: Speaker, scene: Scene) -> tuple[SceneObject, str] | None:
    o = s.pick(scene.objects)
    phrase = refer(s, scene, o)
    return (o, phrase) if phrase else None


def _remove(s: Speaker, scene: Scene) -> str | None:
    picked = _pick_object(s, scene)
    if picked and len(scene.objects) > 1:
        o, phrase = picked
        scene.objects = [other for other in scene.objects if other is not o]
        return s.say("remove", phrase=phrase)


def _add(s: Speaker, scene: Scene) -> str | None:
    if len(scene.objects) == MAX_OBJECTS:
        return None
    o = place_object(s.rng, scene, int(s.rng.integers(len(SPRITES.names))))
    if o and cell(o) not in [cell(other) for other in scene.objects]:
        scene.objects.append(o)
        return s.say("add", a_name=with_article(colored_noun(o)), cell=cell(o))


def _recolor(s: Speaker, scene: Scene) -> str | None:
    picked = _pick_object(s, scene)
    if picked and picked[0].color != NATURAL:
        o, phrase = picked
        before, o.color = o.color, int(s.rng.integers(len(SPRITES.colors)))
        if o.color != before and is_visible(scene, o):
            return s.say("recolor", phrase=phrase, color=SPRITES.colors[o.color])


def _replace(s: Speaker, scene: Scene) -> str | None:
    picked = _pick_object(s, scene)
    if picked:
        o, phrase = picked
        before, o.name = o.name, int(s.rng.integers(len(SPRITES.names)))
        o.color = int(s.rng.integers(len(SPRITES.colors))) if SPRITES.recolorable[o.name] else NATURAL
        if o.name != before and is_visible(scene, o):
            return s.say("replace", phrase=phrase, a_name=with_article(colored_noun(o)))


def _move(s: Speaker, scene: Scene) -> str | None:
    picked = _pick_object(s, scene)
    if picked:
        o, phrase = picked
        before = cell(o)
        o.x, o.y = (int(v) for v in s.rng.integers(0, IMAGE_SIZE - o.size + 1, 2))
        if cell(o) != before and is_free(scene.objects, o) and is_visible(scene, o):
            return s.say("move", phrase=phrase, cell=cell(o))


def _move_background(s: Speaker, scene: Scene) -> str | None:
    before, scene.background = scene.background, s.pick(BACKGROUND_NAMES)
    scene.horizon = float(s.rng.uniform(*BACKGROUNDS[scene.background].horizon))
    if scene.background != before and all(is_visible(scene, o) for o in scene.objects):
        return s.say("move_background", place=background_phrase(scene))


EDITS = {
    "remove": _remove,
    "add": _add,
    "recolor": _recolor,
    "replace": _replace,
    "move": _move,
    "move_background": _move_background,
}
