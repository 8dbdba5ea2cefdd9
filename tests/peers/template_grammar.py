"""Random Jinja templates from a grammar, for templates.py: expressions with filters, tests and methods, and statements."""

import random
import sys

sys.path.insert(0, "tools/golden")
import chat_template as G  # noqa: E402

R = random.Random(1)


def seed(n):
    R.seed(n)


V=list(G.DATA)
NAMES=V+['nothing','i']
def atom():
    return R.choice([lambda:R.choice(NAMES),lambda:str(R.choice([0,1,2,3,-1,7,10])),lambda:R.choice(['1.5','0.0','2.0','-3.25']),
      lambda:repr(R.choice(['','a','abc',' x y ','Hello World','1','2.5','é日','a,b','<b>',"it's"])),lambda:R.choice(['true','false','none']),
      lambda:'['+', '.join(expr(2) for _ in range(R.randint(0,3)))+']',lambda:'('+', '.join(expr(2) for _ in range(R.randint(2,3)))+')',
      lambda:'{'+', '.join(repr(R.choice('abk'))+': '+expr(2) for _ in range(R.randint(0,2)))+'}'])()
FILT=['upper','lower','trim','length','count','first','last','list','string','int','float','abs','round','sum','min','max','sort','unique','reverse','join','join(",")','join("-", attribute="name")','default("D")','default("D", true)','d(1)','title','capitalize','tojson','tojson(indent=2)','e','safe','items','dictsort','wordcount','indent','indent(2, true)','replace("a", "b")','replace("", "-")','map("upper")','map("string")','map(attribute="name")','map("length")','map("default", 0)','select','reject','select("odd")','select("string")','select("defined")','selectattr("name")','selectattr("age", "gt", 26)','rejectattr("name", "eq", "bob")','batch(2)','batch(2, 0)','slice(2)','groupby("age")','sort(attribute="age")','sort(reverse=true)','sort(case_sensitive=true)','truncate(5)','center(12)','format(1)','format("x", 2)','attr("upper")','round(1)','round(1, "floor")','int(5)','float(1.5)','unique|list','sum(start=5)','forceescape']
TEST=['defined','undefined','none','string','number','mapping','sequence','iterable','boolean','true','false','integer','float','callable','odd','even','divisibleby(2)','divisibleby 3','lower','upper','in [1, "a"]','eq 1','ne 1','lt 2','gt("a")','sameas none','escaped','ge 0','le 1']
METH=['upper()','lower()','strip()','lstrip()','rstrip()','split()','split(",")','split("a", 1)','rsplit(" ", 1)','startswith("a")','endswith("c")','replace("a", "x")','title()','capitalize()','items()','keys()','values()','get("a")','get("zz", 5)','find("b")','rfind("l")','count("l")','index(1)','isdigit()','isalpha()','isupper()','splitlines()','partition(" ")','zfill(5)','center(9)','join(["p", "q"])','format(1, 2)','append(1)','pop()','swapcase()','copy()','removeprefix("a")','name','a','b','upper','foo','0','items']
BIN=['+','-','*','/','//','%','~','==','!=','<','<=','>','>=','in','not in','and','or','**']
def expr(d=0):
    if d>3: return atom()
    k=R.random()
    if k<.2: return atom()
    if k<.42: return f"({expr(d+1)} {R.choice(BIN)} {expr(d+1)})" if R.random()<.6 else f"{expr(d+1)} {R.choice(BIN)} {expr(d+1)}"
    if k<.62: return f"{sub(d)} | {R.choice(FILT)}"
    if k<.70: return f"{sub(d)} is {R.choice(['','not '])}{R.choice(TEST)}"
    if k<.80: return f"{sub(d)}.{R.choice(METH)}"
    if k<.86: return f"{R.choice(NAMES)}[{R.choice([expr(3),':'+str(R.randint(-3,3)),'::-1',str(R.randint(-2,2))+':','1:2','::2'])}]"
    if k<.90: return f"not {expr(d+1)}"
    if k<.95: return f"({expr(d+1)} if {expr(d+1)} else {expr(d+1)})"
    return f"-{sub(d)}"
def sub(d): 
    return R.choice([lambda:R.choice(NAMES),lambda:R.choice(V),lambda:'('+expr(d+1)+')',atom])()
def stmt(d=0):
    k=R.random()
    if d>2 or k<.35: return R.choice(['{{ %s }}','{{- %s }}','{{ %s -}}','[{{ %s }}]\n'])%expr(1)
    ws=lambda t: R.choice(['{%% %s %%}','{%%- %s %%}','{%% %s -%%}','{%%- %s -%%}','  {%% %s %%}\n','{%%+ %s %%}'])%t
    b=lambda: ''.join(stmt(d+1)+R.choice(['',' ','\n','  x\n',' y ']) for _ in range(R.randint(1,3)))
    v=lambda: R.choice(['q','n','s','l','ns2','w'])
    c=R.randint(0,9)
    if c<3: return ws(f'for {R.choice(["i","n","k"])} in {R.choice(["l","words","people","d",expr(2),"range(4)"])}{R.choice([""," if "+expr(2)," if i"])}')+b()+R.choice(['','{{ loop.index }}{{ loop.last }}','{{ loop.length }}{{ loop.nextitem }}','{% if loop.first %}{% continue %}{% endif %}'])+(ws('else')+b() if R.random()<.3 else '')+ws('endfor')
    if c<5: return ws(f'if {expr(1)}')+b()+(ws(f'elif {expr(2)}')+b() if R.random()<.3 else '')+(ws('else')+b() if R.random()<.5 else '')+ws('endif')
    if c<7: return ws(f'set {v()} = {expr(1)}')
    if c==7: return ws(f'set {v()}')+b()+ws('endset')
    if c==8: return ws(f'with w = {expr(1)}')+b()+ws('endwith')
    return ws(f'macro m{d}(a, b={expr(2)})')+b()+'{{ a }}{{ b }}'+ws('endmacro')+'{{ m%d(%s) }}'%(d,expr(2))


def template():
    return "{{ " + expr() + " }}" if R.random() < 0.6 else "".join(stmt() + R.choice(["", "\n", " "]) for _ in range(R.randint(1, 4)))
